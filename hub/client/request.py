"""A call of the hub's HTTP as a value: both clients send the same ones, each in its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from hub.client.errors import HubClientError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request(Generic[T]):
    """read: makes the answer of its body; raises msgspec.DecodeError. wait_seconds: before it is
    sent. Where a repeat would do more than the first one did, it carries an idempotency key, in its
    body or as its header: any call may be sent again.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    body: bytes | None = None
    content_type: str = "application/json"
    idempotency_key: str | None = None
    wait_seconds: float = 0.0

    def headers(self) -> dict[str, str]:
        """Those that it has by itself."""
        found = {}
        if self.body is not None:
            found["Content-Type"] = self.content_type
        if self.idempotency_key is not None:
            found["Idempotency-Key"] = self.idempotency_key
        return found

    def answer(self, place: str, body: bytes) -> T:
        """The answer. Raises HubClientError when it is none of a hub."""
        try:
            return self.read(body)
        except msgspec.DecodeError as error:
            raise HubClientError(f"what answers at {place} is no hub: {error}") from error


def response_reader(type: type[T]) -> Callable[[bytes], T]:  # noqa: A002 - msgspec's own word
    """Reads JSON as this type; fields that are new to it are left out."""
    return msgspec.json.Decoder(type).decode


def build_path(*parts: str, **query: Any) -> str:
    """A path, each part quoted, and a query without those that are None."""
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def given_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are given: None means that the hub decides."""
    return {name: value for name, value in fields.items() if value is not None}
