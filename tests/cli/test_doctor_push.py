"""`hub doctor` for push notifications."""

from __future__ import annotations

from typing import Any

import pytest

from hub.cli.doctor.probe import CheckResult
from hub.cli.doctor.push import check_push
from hub.push.vapid import generate_vapid_keys
from hub.settings import Push, Settings
from tests.http.kit import Hub, running_hub
from tests.topologies import free_ports

KEYS = generate_vapid_keys()


def push(keys: Any = KEYS, **table: str) -> Push:
    return Push.model_validate(
        {"private_key": keys.private_key, "subject": "mailto:a@b.example", **table}
    )


async def check(hub: Hub, table: Push, port: int | None = None) -> list[CheckResult]:
    public = Settings().public.model_copy(update={"port": port or hub.port})
    settings = Settings().model_copy(update={"push": table, "public": public})
    return await check_push(hub.session, settings)


async def test_keys_fit() -> None:
    """The node and the settings have the same keys; a node that does not run is no problem."""
    async with running_hub(tables={"push": push()}) as hub:
        for port in (hub.port, free_ports(1)[0]):
            (result,) = await check(hub, push(), port)
            assert (result.status, KEYS.public_key in result.message) == ("ok", True)
        assert await check(hub, Push()) == []


async def test_other_keys() -> None:
    """A node with other keys or without any, and keys that are no pair, are reported."""
    other = generate_vapid_keys()
    async with running_hub(tables={"push": push(other)}) as hub:
        (result,) = await check(hub, push())
        assert (result.status, other.public_key in result.message) == ("fail", True)
        (result,) = await check(hub, push(public_key=other.public_key))
        assert (result.status, "does not belong" in result.message) == ("fail", True)
    async with running_hub() as hub:
        (result,) = await check(hub, push())
        assert (result.status, "has no keys" in result.message) == ("warn", True)


async def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra it says what workers need."""
    monkeypatch.setattr("hub.cli.doctor.push.find_spec", lambda name: None)
    async with running_hub(tables={"push": push()}) as hub:
        *_, result = await check(hub, push())
    assert (result.status, "ssehub[push]" in result.advice) == ("warn", True)
