"""One row of the outbox as a publish request, with the checks of POST /publish."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from hub.api.json_decoding import decode_json, decode_json_field
from hub.api.publish_requests import PublishBody, PublishLimits
from hub.engine.publisher import PublishRequest
from hub.error_codes import BODY_TOO_LARGE
from hub.errors import BadRequest, CallerError, TooLarge
from hub.outbox.schema import COLUMNS

_MAX_REASON_CHARACTERS: Final = 1000


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was read.

    number: its place in the order of inserts. id: its UUID as text. data, options: JSON text, or
    None. size_bytes: of the texts; those of a row that is too large are not read, and empty, and
    its size may be that of the compressed texts.
    delay_seconds: since its insert.
    """

    number: int
    id: str
    recipient: str
    event: str
    data: str | None
    options: str | None
    size_bytes: int
    delay_seconds: float


class Refusal(msgspec.Struct, frozen=True):
    """Why a row cannot be published. code: the name of an ErrorCode. reason: one sentence."""

    number: int
    code: str
    reason: str


def refusal(row: OutboxRow, error: CallerError) -> Refusal:
    """Return why a row is set aside. The database stores no NUL and no half surrogate pairs."""
    reason = error.detail.replace("\0", "").encode(errors="replace").decode()
    return Refusal(row.number, error.code, reason[:_MAX_REASON_CHARACTERS])


def publish_request(
    row: OutboxRow, limits: PublishLimits, *, dedupe_seconds: float
) -> PublishRequest:
    """Return what to publish. Raise CallerError that says why the row cannot be published.

    dedupe_seconds: how long the hub remembers the id of the row, so that it publishes the row once.
    """
    if row.size_bytes > limits.max_body_bytes:
        raise TooLarge(
            f"the row has at least {row.size_bytes} bytes; the limit is {limits.max_body_bytes} "
            "(publish.max_body_bytes)",
            code=BODY_TOO_LARGE,
        )
    body: dict[str, Any] = {"to": _recipients(row.recipient), "event": row.event, "id": row.id}
    if row.data is not None:
        body["data"] = msgspec.Raw(row.data.encode())
    if row.options is not None:
        body |= _options(row.options)
    parsed = decode_json(msgspec.json.encode(body), PublishBody)
    request = parsed.request(max_recipients=limits.max_recipients)
    return msgspec.structs.replace(request, idempotency_seconds=dedupe_seconds)


def _recipients(recipient: str) -> dict[str, Any]:
    kind, separator, name = recipient.partition(":")
    if separator and kind in ("user", "topic"):
        return {kind: name}
    if recipient == "all":
        return {"all": True}
    raise BadRequest("recipient must be user:<id>, topic:<name> or all", path="recipient")


def _options(options: str) -> dict[str, Any]:
    """Return the members of the column `options`. Raise BadRequest that names the member."""
    if options.strip() == "null":
        return {}
    members = decode_json_field(options, dict[str, msgspec.Raw], "options") or {}
    for name in ("to", *COLUMNS):
        if name in members:
            raise BadRequest(
                f"options.{name}: this has a column of its own", path=f"options.{name}"
            )
    return members
