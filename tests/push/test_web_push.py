"""Sending to a push service that decrypts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hub.core.push_message import PushMessage
from hub.core.push_subscription import (
    PushSubscription,
    decode_base64url,
    web_push_subscription,
)
from hub.http.outgoing import open_public_client
from hub.ports.push import SendOutcome, SendResult
from hub.push.vapid import generate_vapid_keys
from hub.push.web_push import WebPushChannel
from tests.push.push_service import CURVE, Device, PushService, decrypt, open_push_service

KEYS = generate_vapid_keys()
NOW = 1_800_000_000.0
MESSAGE = PushMessage(
    title="Report ready", body="37 pages", url="/r/7", tag="report", icon="/i.png", urgency="high"
)


class Sender:
    """A channel and a push service, with a clock that the test moves."""

    def __init__(self, channel: WebPushChannel, service: PushService) -> None:
        self.channel, self.service = channel, service

    async def send(
        self, device: Device, message: PushMessage = MESSAGE, ttl_seconds: float = 60.0
    ) -> SendResult:
        """Send a message to a device."""
        return await self.channel.send(
            to_subscription(device), message, push_id="p1", ttl_seconds=ttl_seconds
        )


def to_subscription(device: Device) -> PushSubscription:
    """Return the subscription of a device as the hub stores it."""
    sent = device.subscription()
    return web_push_subscription(
        sent["endpoint"], sent["keys"]["p256dh"], sent["keys"]["auth"], allow_private=True
    )


@asynccontextmanager
async def open_sender(timeout_seconds: float = 30.0) -> AsyncIterator[Sender]:
    """Open a channel that may send to this machine, and a push service."""
    async with (
        open_push_service() as service,
        open_public_client(allow_private=True, timeout_seconds=timeout_seconds) as client,
    ):
        yield Sender(WebPushChannel(client, KEYS, subject="mailto:ops@example.com"), service)


def test_decryption_of_the_double() -> None:
    """The double decrypts the example of RFC 8291, appendix A."""
    private = decode_base64url("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")
    auth = decode_base64url("BTBZMqHH6r4Tts7J_aSIgg")
    body = decode_base64url(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS"
        "6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qu"
        "lcy4a-fN"
    )
    key = ec.derive_private_key(int.from_bytes(private), CURVE)
    assert decrypt(body, key, auth) == b"When I grow up, I want to be a watermelon"


async def test_message_arrives() -> None:
    """The device decrypts the whole message; the headers are those of the RFCs."""
    async with open_sender() as sender:
        device = sender.service.add_device("phone")
        assert await sender.send(device) == SendResult(SendOutcome.SENT)
        assert device.messages == [
            {
                "id": "p1",
                "title": "Report ready",
                "body": "37 pages",
                "url": "/r/7",
                "tag": "report",
                "icon": "/i.png",
            }
        ]
        assert device.headers["TTL"] == "60"
        assert device.headers["Urgency"] == "high"
        topic = device.headers["Topic"]
        assert await sender.send(device, PushMessage(title="x", tag="other")) == SendResult(
            SendOutcome.SENT
        )
        assert device.headers["Topic"] != topic
        assert len(topic) == 32
        await sender.send(device, PushMessage(title="x"), ttl_seconds=0)
        assert "Topic" not in device.headers
        assert device.headers["TTL"] == "0"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, SendOutcome.SENT),
        (202, SendOutcome.SENT),
        (301, SendOutcome.REFUSED),
        (307, SendOutcome.REFUSED),
        (400, SendOutcome.REFUSED),
        (401, SendOutcome.REFUSED),
        (403, SendOutcome.REFUSED),
        (404, SendOutcome.UNSUBSCRIBED),
        (410, SendOutcome.UNSUBSCRIBED),
        (408, SendOutcome.LATER),
        (429, SendOutcome.LATER),
        (500, SendOutcome.LATER),
        (503, SendOutcome.LATER),
    ],
)
async def test_statuses(status: int, outcome: SendOutcome) -> None:
    """Each status of a push service has one outcome, and no redirect is followed."""
    async with open_sender() as sender:
        device = sender.service.add_device("phone")
        device.statuses = [status]
        result = await sender.send(device)
        assert result.outcome is outcome
        assert outcome is SendOutcome.SENT or str(status) in result.reason
        assert device.requests == 1


async def test_retry_after() -> None:
    """Seconds and dates of Retry-After are understood, and nonsense is ignored."""
    async with open_sender() as sender:
        device = sender.service.add_device("phone")
        waits = []
        for value in ("120", "soon", "-5", formatdate(1e9, usegmt=True), "9" * 400):
            device.statuses, device.retry_after = [429], value
            waits.append((await sender.send(device)).retry_after_seconds)
        assert waits == [120.0, None, None, 0.0, None]


async def test_too_large_for_the_service() -> None:
    """After a 413 the message is sent with less body, and without one in the end."""
    async with open_sender() as sender:
        device = sender.service.add_device("phone")
        for max_bytes in (4096, 3000, 300):
            device.max_bytes = max_bytes
            message = PushMessage(title="T", body="é" * 5000)
            assert (await sender.send(device, message)).outcome is SendOutcome.SENT
        lengths = [len(message.get("body", "")) for message in device.messages]
        assert lengths[0] > lengths[1] > lengths[2] == 0
        device.max_bytes = 10
        result = await sender.send(device)
        assert result.outcome is SendOutcome.REFUSED
        assert "size" in result.reason


async def test_unreachable() -> None:
    """A service that cannot be reached is tried again; the reason has no secret."""
    async with open_sender() as sender:
        device = sender.service.add_device("secret")
    async with open_public_client(allow_private=True, timeout_seconds=30) as client:
        channel = WebPushChannel(client, KEYS, subject="mailto:ops@example.com")
        result = await Sender(channel, sender.service).send(device)
    assert result.outcome is SendOutcome.LATER
    assert "secret" not in result.reason


async def test_private_endpoint() -> None:
    """An endpoint that is not public is refused."""
    async with open_push_service() as service, open_public_client(timeout_seconds=30) as client:
        device = service.add_device("phone")
        channel = WebPushChannel(client, KEYS, subject="mailto:ops@example.com")
        result = await Sender(channel, service).send(device)
    assert result.outcome is SendOutcome.REFUSED
    assert device.requests == 0


async def test_token_is_renewed() -> None:
    """One VAPID token serves an origin for hours, and is replaced before it ends."""
    now = [NOW]
    async with (
        open_push_service() as service,
        open_public_client(allow_private=True, timeout_seconds=30) as client,
    ):
        channel = WebPushChannel(client, KEYS, subject="https://example.com", wall=lambda: now[0])
        device = service.add_device("phone")
        tokens = []
        for passed in (0, 10 * 3600, 11.5 * 3600, 12 * 3600):
            now[0] = NOW + passed
            device.statuses = [201]  # the token is not of this time, so the double does not check
            await Sender(channel, service).send(device)
            tokens.append(device.headers["Authorization"])
    assert tokens[0] == tokens[1]
    assert tokens[1] != tokens[2] == tokens[3]
