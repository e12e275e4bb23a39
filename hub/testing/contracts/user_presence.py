"""What the store of connected users must do."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from hub.core.channel import partition_of, user_channel
from hub.core.deliveries import Delivery, Done, new_delivery_id
from hub.core.webhooks import WEBHOOK_QUEUE
from hub.ports.backend import Backend
from hub.ports.user_presence import UserChange
from hub.testing.contracts.node import BackendOptions, OpenBackend

USERS: Final = ("alice", "bob/b%25}", "c:ü")


def _change(user: str, event: str) -> UserChange:
    """Return a change whose delivery says what has happened: +user or -user."""
    channel = user_channel(user)
    delivery = Delivery(
        queue=WEBHOOK_QUEUE,
        channel=channel,
        lane="w",
        id=new_delivery_id(channel),
        body=f"{event}{user}".encode(),
    )
    return UserChange(user, event == "+", [delivery])


class UserPresenceContract:
    """The suite for ports.user_presence."""

    @pytest.fixture
    async def backend(self, open_backend: OpenBackend) -> Backend:
        """An empty backend."""
        return await open_backend(BackendOptions())

    async def test_users_on_several_nodes(self, backend: Backend) -> None:
        """The deliveries of the first node of a user, and of the last one, are added."""

        async def update(node: str, event: str, *users: str) -> list[str]:
            changes = [_change(user, event) for user in users]
            await backend.user_presence.update(node, changes, seconds=60)
            return await _sent(backend)

        assert await update("n1", "+", *USERS) == sorted(f"+{user}" for user in USERS)
        assert await update("n2", "+", "alice", "dora") == ["+dora"]
        assert await update("n1", "+", *USERS) == []
        assert await update("n1", "-", "alice", "never") == []
        assert await update("n1", "-", *USERS[1:]) == sorted(f"-{user}" for user in USERS[1:])
        assert await update("n2", "-", "alice", "alice") == ["-alice"]

    async def test_many_users(self, backend: Backend) -> None:
        """Also more users, and more of one partition, than one step has room for."""
        users = [f"user {n}" for n in range(300)]
        changes = [UserChange(user, True) for user in users]
        partitions = {partition_of(user_channel(user)) for user in users}
        presence = backend.user_presence
        assert set(await presence.update("n1", changes, seconds=60)) == partitions
        assert set(await presence.update("n1", changes, seconds=60)) == set()
        assert await presence.renew("n1", partitions, seconds=60) == (False, [])
        assert await _sent(backend) == []

    async def test_expired_node(self, backend: Backend) -> None:
        """Another node removes its users; the node itself cannot come back under its name."""
        presence = backend.user_presence
        partition = partition_of(user_channel("alice"))
        await presence.update("dead", [_change("alice", "+")], seconds=0.2)
        await presence.update("n1", [UserChange("bob", True)], seconds=60)
        assert await presence.expired_users(partition, "n1", 9) == []
        assert await _sent(backend) == ["+alice"]
        async with asyncio.timeout(60):
            while not (renewal := await presence.renew("n1", [], seconds=60)).expired:
                await asyncio.sleep(0)  # only a look tells that an entry has expired
        assert list(renewal.expired) == [(partition, "dead")]
        assert (await presence.renew("dead", [partition], seconds=60)).is_lost
        again = await presence.update("dead", [_change("alice", "-")], seconds=60)
        assert set(again) == {partition}
        assert await presence.expired_users(partition, "dead", 9) == ["alice"]
        for _ in range(2):
            await presence.remove_expired(partition, "dead", [_change("alice", "-")])
        assert await _sent(backend) == ["-alice"]
        assert await presence.expired_users(partition, "dead", 9) == []
        assert await presence.renew("n1", [], seconds=60) == (False, [])
        assert (await presence.renew("n1", [partition], seconds=60)).is_lost

    async def test_living_node_is_not_removed(self, backend: Backend) -> None:
        """Nobody removes the users of a node whose entries have not expired."""
        partition = partition_of(user_channel("alice"))
        await backend.user_presence.update("n1", [_change("alice", "+")], seconds=60)
        for node in ("n1", "unknown"):
            await backend.user_presence.remove_expired(partition, node, [_change("alice", "-")])
        assert await _sent(backend) == ["+alice"]


async def _sent(backend: Backend) -> list[str]:
    """Return what the deliveries say that wait, and remove them."""
    bodies = []
    while taken := await backend.deliveries.take(WEBHOOK_QUEUE, 50, lease_seconds=60):
        for each in taken:
            bodies.append(each.body.decode())
            await backend.deliveries.complete(each, Done())
    return sorted(bodies)
