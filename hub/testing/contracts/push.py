"""What a store of push subscriptions must do."""

from __future__ import annotations

import asyncio

import pytest

from hub.core.push_subscription import PushSubscription, subscription_id
from hub.ports.push import PushSubscriptionStore
from hub.testing.contracts.node import BackendOptions, OpenBackend


def _subscription(name: str, **changes: str) -> PushSubscription:
    endpoint = f"https://push.example.com/{name}"
    fields = {"endpoint": endpoint, "p256dh": "key", "auth": "secret", **changes}
    return PushSubscription(id=subscription_id(endpoint), **fields)


PHONE = _subscription("phone")
LAPTOP = _subscription("laptop")


class PushSubscriptionsContract:
    """The suite for ports.push.PushSubscriptionStore."""

    @pytest.fixture
    async def store(self, open_backend: OpenBackend) -> PushSubscriptionStore:
        """An empty store that keeps three subscriptions of each user."""
        options = BackendOptions(max_push_subscriptions=3)
        return (await open_backend(options)).push_subscriptions

    async def test_put_list_remove(self, store: PushSubscriptionStore) -> None:
        """A user has what was put until it is removed, and only its user removes it."""
        assert await store.list("a") == []
        assert await store.put("a", PHONE)
        assert await store.put("a", LAPTOP)
        assert await store.put("b/é", _subscription("b"))
        assert await store.list("a") == [PHONE, LAPTOP]
        assert not await store.remove("b/é", PHONE.id)
        assert not await store.remove("a", "unknown")
        assert await store.list("a") == [PHONE, LAPTOP]
        assert await store.remove("a", PHONE.id)
        assert not await store.remove("a", PHONE.id)
        assert await store.list("a") == [LAPTOP]
        assert await store.list("b/é") == [_subscription("b")]

    async def test_put_again(self, store: PushSubscriptionStore) -> None:
        """A known endpoint is stored once, with its newest keys."""
        await store.put("a", PHONE)
        await store.put("a", LAPTOP)
        renewed = _subscription("phone", auth="other")
        assert not await store.put("a", renewed)
        assert await store.list("a") == [LAPTOP, renewed]

    async def test_moves_to_the_present_user(self, store: PushSubscriptionStore) -> None:
        """An endpoint belongs to the user who put it last."""
        await store.put("a", PHONE)
        await store.put("a", LAPTOP)
        assert not await store.put("b", PHONE)
        assert await store.list("a") == [LAPTOP]
        assert await store.list("b") == [PHONE]
        assert not await store.remove("a", PHONE.id)
        assert await store.list("b") == [PHONE]

    async def test_one_owner_under_races(self, store: PushSubscriptionStore) -> None:
        """Puts of several users at the same time leave one owner."""
        users = ["a", "b", "c", "d"]
        await asyncio.gather(*(store.put(user, PHONE) for user in users for _ in range(5)))
        owners = [user for user in users if PHONE in await store.list(user)]
        assert len(owners) == 1

    async def test_maximum(self, store: PushSubscriptionStore) -> None:
        """Beyond the maximum, the subscription that was put longest ago is removed."""
        for n in range(4):
            await store.put("a", _subscription(f"{n}"))
        assert await store.list("a") == [_subscription(f"{n}") for n in (1, 2, 3)]
        await store.put("a", _subscription("1"))
        await store.put("a", _subscription("4"))
        assert await store.list("a") == [_subscription(f"{n}") for n in (3, 1, 4)]
        assert not await store.remove("a", _subscription("0").id)

    async def test_remove_all(self, store: PushSubscriptionStore) -> None:
        """Everything of one user is removed, and nothing of another."""
        await store.put("a", PHONE)
        await store.put("b", LAPTOP)
        await store.remove_all("a")
        assert await store.list("a") == []
        assert await store.list("b") == [LAPTOP]

    async def test_expires(self, open_backend: OpenBackend) -> None:
        """A subscription that is not put again expires."""
        options = BackendOptions(push_ttl_seconds=0.2)
        store = (await open_backend(options)).push_subscriptions
        await store.put("a", PHONE)
        async with asyncio.timeout(60):
            while await store.list("a"):
                await asyncio.sleep(0.05)  # the clock of a server cannot be controlled
        assert await store.put("a", PHONE)
