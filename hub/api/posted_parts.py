"""The JSON of the parts that external producers post: `{"seq":0,"type":"text","text":"…"}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from hub.api.json_decoding import decode_json
from hub.core.durable import AskInput, Save
from hub.core.event import compact_json
from hub.core.generation import Status
from hub.core.inputs import InputRequest
from hub.core.parts import (
    Annotations,
    Data,
    File,
    Part,
    Reasoning,
    ReasoningDetails,
    Replace,
    Source,
    StepEnd,
    StepStart,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from hub.core.parts import Status as StatusPart
from hub.core.posted_parts import Posted, PostedEnd, PostedPart
from hub.core.usage import read_usage
from hub.error_codes import ERROR_CODES, PRODUCER_ERROR, UNKNOWN_FIELD
from hub.errors import BadRequest
from hub.producer.inputs import DEFAULT_INPUT_TIMEOUT_SECONDS, build_request

_PARTS: Final[tuple[type[Part], ...]] = (
    Text, Reasoning, ReasoningDetails, ToolCall, ToolCallDelta, ToolResult, Annotations, Source,
    File, StatusPart, StepStart, StepEnd, Data, Replace, Usage,
)  # fmt: skip
_BY_TYPE: Final[Mapping[str, type[Part]]] = {
    str(part.__struct_config__.tag): part for part in _PARTS
}
_COMMON: Final = frozenset({"seq", "type", "checkpoint", "steering"})
_END: Final = "end"
_INPUT_REQUEST: Final = "input_request"
_SUSPEND: Final = "suspend"
_MAX_CODE_CHARS: Final = 128


class _Head(msgspec.Struct, frozen=True):
    seq: Annotated[int, msgspec.Meta(ge=0)]
    type: str
    checkpoint: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    steering: Annotated[int, msgspec.Meta(ge=0)] = 0


class EndBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last part. `code`, `message` and `retryable` belong to `failed`."""

    seq: int
    type: Literal["end"]
    status: Literal["done", "failed"] = "done"
    finish_reason: str | None = None
    code: str | None = None
    message: str | None = None
    retryable: bool | None = None
    usage: dict[str, Any] | None = None

    def to_posted(self) -> PostedEnd:
        """Return the end. Raise BadRequest for fields that do not belong to its status."""
        usage = None if self.usage is None else _read_usage(self.usage, "usage")
        if self.status == "done":
            for name in ("code", "message", "retryable"):
                if getattr(self, name) is not None:
                    raise BadRequest(f'{name} belongs to "status": "failed"', path=name)
            fields: dict[str, Any] = {"finish_reason": self.finish_reason or "stop"}
            return PostedEnd(self.seq, Status.DONE, fields, usage)
        if self.finish_reason is not None:
            raise BadRequest('finish_reason belongs to "status": "done"', path="finish_reason")
        code = PRODUCER_ERROR.name if self.code is None else self.code
        if not 1 <= len(code) <= _MAX_CODE_CHARS or not code.isprintable():
            raise BadRequest(f"code has 1 to {_MAX_CODE_CHARS} printable characters", path="code")
        fields = {
            "code": code,
            "message": self.message or "the application could not answer",
            "retryable": bool(self.retryable),
        }
        return PostedEnd(self.seq, Status.FAILED, fields, usage)


class _InputBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a part asks for. The fields mean the same as in Run.input."""

    seq: int
    input: str
    prompt: str
    options: list[str] | None = None
    schema: Any = None
    timeout_seconds: float = DEFAULT_INPUT_TIMEOUT_SECONDS
    approvers: list[str] | None = None
    tool_call: str | None = None

    def build(self) -> InputRequest:
        """Return the request. Raise BadRequest."""
        try:
            return build_request(
                self.input,
                self.prompt,
                options=self.options,
                schema=self.schema,
                timeout_seconds=self.timeout_seconds,
                approvers=self.approvers,
                tool_call=self.tool_call,
            )
        except (TypeError, ValueError) as error:
            raise BadRequest(str(error)) from None


class InputRequestBody(_InputBody, frozen=True):
    """A part that asks for an input."""

    type: Literal["input_request"]

    def to_command(self) -> AskInput:
        """Return what asks for the input. Raise BadRequest."""
        return AskInput(self.build())


class SuspendBody(_InputBody, frozen=True):
    """The last part of an attempt that waits for an input without a lease.

    state: the checkpoint from which the next attempt continues. steering: as with a checkpoint.
    """

    type: Literal["suspend"]
    state: msgspec.Raw = msgspec.Raw(b"null")
    steering: Annotated[int, msgspec.Meta(ge=0)] = 0

    def to_command(self) -> AskInput:
        """Return what asks for the input and ends the attempt. Raise BadRequest."""
        return AskInput(self.build(), Save(msgspec.Raw(compact_json(self.state)), self.steering))


def is_last(posted: Posted) -> bool:
    """Return whether nothing may follow a part."""
    return isinstance(posted, PostedEnd) or posted.suspends


def parse_items(items: Sequence[bytes], first: int = 0) -> list[Posted]:
    """Return parts of an array. first: the number of the first item.

    Raise BadRequest that names the item and the field.
    """
    posted: list[Posted] = []
    for n, item in enumerate(items, start=first):
        try:
            if posted and is_last(posted[-1]):
                raise BadRequest("nothing follows the end")
            posted.append(parse_item(item))
        except BadRequest as error:
            path = f"[{n}].{error.path}" if error.path else f"[{n}]"
            code = ERROR_CODES[error.code]
            raise BadRequest(f"item {n}: {error.detail}", code=code, path=path) from error
    return posted


def parse_item(item: bytes) -> Posted:
    """Return one part. Raise BadRequest that names the field."""
    head = decode_json(item, _Head)
    if head.type == _END:
        return decode_json(item, EndBody).to_posted()
    if head.type == _INPUT_REQUEST:
        return PostedPart(head.seq, decode_json(item, InputRequestBody).to_command())
    if head.type == _SUSPEND:
        return PostedPart(head.seq, decode_json(item, SuspendBody).to_command())
    model = _BY_TYPE.get(head.type)
    if model is None:
        known = ", ".join([*_BY_TYPE, _INPUT_REQUEST, _SUSPEND, _END])
        raise BadRequest(
            f"there is no part of the type {head.type!r}; there are {known}", path="type"
        )
    _check_fields(item, model)
    part: Part = decode_json(item, model)
    if isinstance(part, File) and (part.url is None) is (part.data is None):
        raise BadRequest("a file needs exactly one of url and data", path="url")
    if isinstance(part, Usage):
        part = Usage(_read_usage(part.tokens, "tokens"))
    checkpoint = None
    if not isinstance(head.checkpoint, msgspec.UnsetType):
        checkpoint = compact_json(head.checkpoint)
    return PostedPart(head.seq, part, checkpoint, head.steering)


def _read_usage(usage: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the usage with whole numbers as counts. Raise BadRequest."""
    tokens, odd = read_usage(usage)
    if odd:
        raise BadRequest(f"{odd[0]} is not a number of tokens", path=f"{path}.{odd[0]}")
    return tokens


def _check_fields(item: bytes, model: type[Part]) -> None:
    """Raise BadRequest for a field that the part does not have."""
    given = msgspec.json.decode(item, type=dict[str, msgspec.Raw])
    for field in given.keys() - {*_COMMON, *model.__struct_fields__}:
        kind = model.__struct_config__.tag
        raise BadRequest(
            f"there is no field {field!r} in a part of the type {kind}",
            code=UNKNOWN_FIELD,
            path=field,
        )
