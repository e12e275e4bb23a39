"""Push notifications as the settings describe them."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.cli.app import app
from hub.core.channel import Channel, topic_channel, user_channel
from hub.core.cursor import Position, format_cursor
from hub.core.deliveries import PUSH_QUEUE, Dead, Delivery, new_delivery_id
from hub.core.push_job import PushOrigin, first_delivery
from hub.core.push_message import PushMessage
from hub.engine.metrics.worker_metrics import WorkerMetrics
from hub.engine.tasks import SystemClock
from hub.errors import OperatorError
from hub.push.vapid import generate_vapid_keys
from hub.settings import Push, Settings, load_settings
from hub.testing.backend import MemoryBackend
from hub.wiring.push import (
    describe_failure,
    open_push_channels,
    open_push_worker,
    read_push_keys,
)
from tests.push.push_service import open_push_service
from tests.push.test_web_push import to_subscription

KEYS = generate_vapid_keys()


def test_printed_keys_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `hub keys vapid` prints is a table of the settings."""
    monkeypatch.chdir(tmp_path)
    printed = CliRunner().invoke(app, ["keys", "vapid", "--subject", "mailto:me@example.com"])
    assert printed.exit_code == 0
    (tmp_path / "hub.toml").write_text(printed.stdout)
    push = load_settings(tmp_path / "hub.toml").settings.push
    keys = read_push_keys(push)
    assert keys is not None
    assert keys.public_key == tomllib.loads(printed.stdout)["push"]["public_key"]
    assert push.subject == "mailto:me@example.com"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"private_key": KEYS.private_key}, "push.subject"),
        ({"private_key": KEYS.private_key, "subject": "me"}, "mailto:"),
        ({"public_key": KEYS.public_key}, "push.private_key"),
        ({"private_key": "k", "private_key_file": "f", "subject": "mailto:a@b"}, "not both"),
    ],
)
def test_contradictions(table: dict[str, str], message: str, tmp_path: Path) -> None:
    """Settings that cannot work are an error that names the setting, and shows no key."""
    lines = [f'{name} = "{value}"' for name, value in table.items()]
    (tmp_path / "hub.toml").write_text("\n".join(["[push]", *lines]))
    with pytest.raises(OperatorError, match=message) as raised:
        load_settings(tmp_path / "hub.toml")
    assert KEYS.private_key not in str(raised.value)


def test_wrong_keys(tmp_path: Path) -> None:
    """A key that is none, that of another pair or in a missing file is an error without the key."""
    other = generate_vapid_keys()
    for table, message in (
        ({"private_key": "nonsense!"}, "hub keys vapid"),
        ({"private_key": KEYS.private_key, "public_key": other.public_key}, "does not belong"),
        ({"private_key_file": tmp_path / "missing"}, "cannot be read"),
    ):
        with pytest.raises(OperatorError, match=message) as raised:
            read_push_keys(Push.model_validate(table))
        assert "nonsense" not in str(raised.value)
    (tmp_path / "key").write_text(KEYS.private_key + "\n")
    assert read_push_keys(Push(private_key_file=tmp_path / "key")) == KEYS
    assert read_push_keys(Push()) is None


async def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pywebpush a worker with keys says what to install."""
    monkeypatch.setitem(sys.modules, "pywebpush", None)
    monkeypatch.delitem(sys.modules, "hub.push.web_push", raising=False)
    push = Push.model_validate({"private_key": KEYS.private_key, "subject": "mailto:a@b.example"})
    async with AsyncExitStack() as opened:
        assert await open_push_channels(Push(), opened) == {}
        with pytest.raises(OperatorError, match=r"ssehub\[push\]"):
            await open_push_channels(push, opened)


class FakeWebhooks:
    """Implements ports.webhooks.EventDeliveries for one receiver."""

    def __init__(self) -> None:
        self.built: list[tuple[str, Mapping[str, Any]]] = []

    def build(self, event: str, channel: Channel, data: Mapping[str, Any]) -> list[Delivery]:
        self.built.append((event, data))
        name = new_delivery_id(channel)
        return [Delivery(queue="webhook", channel=channel, lane="w", id=name, body=b"{}")]


async def test_failure_is_a_webhook() -> None:
    """A notification that no device can get is an event of webhooks."""
    backend, webhooks = MemoryBackend(), FakeWebhooks()
    push = Push.model_validate(
        {
            "private_key": KEYS.private_key,
            "subject": "mailto:a@b.example",
            "allow_private": True,
        }
    )
    settings = Settings().model_copy(update={"push": push})
    async with AsyncExitStack() as opened:
        service = await opened.enter_async_context(open_push_service())
        worker = await open_push_worker(
            settings, backend, SystemClock(), WorkerMetrics({}), opened, webhooks=webhooks
        )
        device = service.add_device("phone")
        device.statuses = [403]
        await backend.push_subscriptions.put("alice", to_subscription(device))
        message = PushMessage(title="T")
        delivery = first_delivery(user_channel("alice"), message, delay_seconds=0.0)
        await backend.deliveries.add([delivery])
        (taken,) = await backend.deliveries.take(PUSH_QUEUE, 1, lease_seconds=60)
        assert worker.sender is not None
        result = await worker.sender.send(taken)
    reason = "the push service answered with 403"
    assert result == Dead(reason)
    expected = {"push": delivery.id, "title": "T", "reason": reason}
    assert webhooks.built == [("push.failed", expected)]
    assert (await backend.deliveries.counts("webhook")).waiting == 1


def test_failure_names_the_event() -> None:
    """The application finds the event of a notification by its position."""
    channel, position = topic_channel("news"), Position("e", 7)
    origin = PushOrigin(push_id="d", channel=channel, position=position)
    described = describe_failure(origin, PushMessage(title="T"), "no")
    assert described["cursor"] == format_cursor({channel: position})
