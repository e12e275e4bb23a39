"""Sends one message to one Web Push subscription.

Encrypts with `aes128gcm` (RFC 8291), signs with VAPID (RFC 8292), and turns the response of the
push service (RFC 8030) into a SendResult. Only this module imports pywebpush, the extra `push`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from py_vapid import Vapid02
from pywebpush import WebPusher

from hub.core.push_message import (
    MAX_PAYLOAD_BYTES,
    PushMessage,
    encode_payload,
    topic_of_tag,
)
from hub.core.push_subscription import PushSubscription
from hub.http.outgoing import OutgoingResponse, PublicHttpClient, RequestFailed
from hub.ports.push import SendOutcome, SendResult
from hub.push.vapid import VapidKeys

_PAYLOAD_BYTES: Final = (MAX_PAYLOAD_BYTES, 2048, 0)  # after each 413 less; 0: without a body
_TOKEN_SECONDS: Final = 12 * 3600  # RFC 8292, section 2: 24 hours at most
_RENEW_BEFORE_SECONDS: Final = 3600
_MAX_ORIGINS: Final = 1000
_UNSUBSCRIBED: Final = (404, 410)
_LATER: Final = (408, 425, 429)


class WebPushChannel:
    """Implements ports.push.PushChannel.

    subject: how the push service reaches the operator, `mailto:…` or `https://…`. wall: returns the
    time in Unix seconds.
    """

    def __init__(
        self,
        client: PublicHttpClient,
        keys: VapidKeys,
        *,
        subject: str,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._signer: Any = Vapid02.from_string(keys.private_key)
        self._subject = subject
        self._wall = wall
        self._tokens: dict[str, tuple[str, float]] = {}  # by origin: the header and its end

    async def send(
        self,
        subscription: PushSubscription,
        message: PushMessage,
        *,
        push_id: str,
        ttl_seconds: float,
    ) -> SendResult:
        result = SendResult(SendOutcome.REFUSED, "the push service accepts no message of this size")
        for max_bytes in _PAYLOAD_BYTES:
            payload = encode_payload(message, push_id, max_bytes=max_bytes)
            try:
                body = _encrypt(subscription, payload)
                headers = self._headers(subscription.endpoint, message, ttl_seconds)
                response = await self._client.post(subscription.endpoint, body, headers)
            except RequestFailed as error:
                outcome = SendOutcome.REFUSED if error.is_final else SendOutcome.LATER
                return SendResult(outcome, str(error))
            except ValueError:
                return SendResult(
                    SendOutcome.UNSUBSCRIBED, "the keys of the subscription are not valid"
                )
            if response.status != 413:
                return self._result(response)
        return result

    def _result(self, response: OutgoingResponse) -> SendResult:
        status = response.status
        reason = f"the push service answered with {status}"
        if 200 <= status < 300:
            return SendResult(SendOutcome.SENT)
        if status in _UNSUBSCRIBED:
            return SendResult(SendOutcome.UNSUBSCRIBED, reason)
        if status in _LATER or status >= 500:
            retry_after_seconds = response.retry_after_seconds(self._wall())
            return SendResult(SendOutcome.LATER, reason, retry_after_seconds)
        return SendResult(SendOutcome.REFUSED, reason)

    def _headers(
        self, endpoint: str, message: PushMessage, ttl_seconds: float
    ) -> Mapping[str, str]:
        headers = {
            "Authorization": self._authorization(endpoint),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(max(0, int(ttl_seconds))),
            "Urgency": message.urgency,
        }
        topic = topic_of_tag(message.tag)
        return headers if topic is None else {**headers, "Topic": topic}

    def _authorization(self, endpoint: str) -> str:
        """Return the header for the origin of an endpoint; one token serves for hours."""
        parts = urlsplit(endpoint)
        origin = f"{parts.scheme}://{parts.netloc}"
        now = self._wall()
        header, until = self._tokens.get(origin, ("", 0.0))
        if until - now < _RENEW_BEFORE_SECONDS:
            until = now + _TOKEN_SECONDS
            claims = {"aud": origin, "exp": int(until), "sub": self._subject}
            header = str(self._signer.sign(claims)["Authorization"])
            if len(self._tokens) >= _MAX_ORIGINS:
                self._tokens.clear()
            self._tokens[origin] = header, until
        return header


def _encrypt(subscription: PushSubscription, payload: bytes) -> bytes:
    """Return the payload as one encrypted record. Raise ValueError if the keys are not valid."""
    info = {
        "endpoint": subscription.endpoint,
        "keys": {"p256dh": subscription.p256dh, "auth": subscription.auth},
    }
    body = WebPusher(info).encode(payload, content_encoding="aes128gcm")["body"]
    return bytes(body)
