"""The requests of the Agent2Agent protocol: messages, and the operations on tasks.

Source: a2a-protocol.org, specification 1.0, sections 3.1, 9 (JSON-RPC) and 11 (HTTP+JSON). Version
0.3 has other names and forms, which many agents still speak; of it only JSON-RPC is supported.

An agent keeps the conversation of a context. In a context that it knows it gets only what follows
its last answer; otherwise the earlier messages precede the question as one text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal
from urllib.parse import quote

from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.sse_decoder import ServerSentEvent
from hub.upstreams.a2a.card import AgentInterface
from hub.upstreams.a2a.reader import CallReader
from hub.upstreams.a2a.task import TaskProgress
from hub.upstreams.chat_messages import (
    ChatMessage,
    FilePart,
    ImagePart,
    TextPart,
    parse_data_url,
    parse_messages,
    unsupported,
)
from hub.upstreams.dialect import BEARER, AuthHeader, UpstreamRequest
from hub.upstreams.framing import SSE, Decoder, Framing

Operation = Literal["stream", "send", "subscribe", "get", "cancel"]

_METHODS: Final[Mapping[str, Mapping[Operation, str]]] = {
    "1.0": {
        "stream": "SendStreamingMessage",
        "send": "SendMessage",
        "subscribe": "SubscribeToTask",
        "get": "GetTask",
        "cancel": "CancelTask",
    },
    "0.3": {
        "stream": "message/stream",
        "send": "message/send",
        "subscribe": "tasks/resubscribe",
        "get": "tasks/get",
        "cancel": "tasks/cancel",
    },
}
_PATHS: Final[Mapping[Operation, str]] = {
    "stream": "/message:stream",
    "send": "/message:send",
    "subscribe": "/tasks/{id}:subscribe",
    "get": "/tasks/{id}",
    "cancel": "/tasks/{id}:cancel",
}
_OUTPUT_MODES: Final = ["text/plain", "text/markdown", "application/json", "*/*"]


class _NamelessDecoder:
    """Implements Decoder: the names of events mean nothing in A2A, some agents use `error`."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def feed(self, chunk: bytes) -> Sequence[ServerSentEvent]:
        return [_without_name(event) for event in self._decoder.feed(chunk)]

    def end(self) -> Sequence[ServerSentEvent]:
        return [_without_name(event) for event in self._decoder.end()]


def _without_name(event: ServerSentEvent) -> ServerSentEvent:
    return ServerSentEvent("message", event.data, event.id)


FRAMING: Final = Framing(
    media_type="text/event-stream",
    accepts=SSE.accepts,
    decoder=lambda max_bytes: _NamelessDecoder(SSE.decoder(max_bytes)),
)


class AgentCall:
    """Implements Dialect for one operation of one task.

    progress: takes what the agent sends. params: those of `stream` and `send`; the other operations
    name the task. secrets: what no error may show.
    """

    kind: ClassVar[str] = "a2a"
    auth_header: ClassVar[AuthHeader] = BEARER
    framing = FRAMING

    def __init__(
        self,
        interface: AgentInterface,
        operation: Operation,
        progress: TaskProgress,
        params: Mapping[str, Any] | None = None,
        *,
        secrets: Collection[str] = (),
    ) -> None:
        self.operation = operation
        self._interface = interface
        self._progress = progress
        self._params = params
        self._secrets = secrets

    @property
    def is_stream(self) -> bool:
        """Whether the agent answers with a stream of events."""
        return self.operation in ("stream", "subscribe")

    @property
    def path(self) -> str:
        """The path below the URL of the interface."""
        interface = self._interface
        if interface.binding == "jsonrpc":
            return ""
        prefix = f"/{quote(interface.tenant, safe='')}" if interface.tenant else ""
        task = quote(self._progress.task or "", safe="")
        return prefix + _PATHS[self.operation].format(id=task)

    def build_request(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> UpstreamRequest:
        interface, operation = self._interface, self.operation
        shown = {"historyLength": 0} if operation == "get" else {}
        headers = {"A2A-Version": interface.version}
        if interface.binding == "http":
            is_get = operation == "get"
            body = shown if self._params is None else self._params
            method: Literal["GET", "POST"] = "GET" if is_get else "POST"
            return UpstreamRequest(method=method, body=body, headers=headers)
        params = {"id": self._progress.task, **shown} if self._params is None else {**self._params}
        if interface.tenant:
            params["tenant"] = interface.tenant
        method_name = _METHODS[interface.version][operation]
        rpc = {"jsonrpc": "2.0", "id": operation, "method": method_name, "params": params}
        return UpstreamRequest(body=rpc, headers=headers)

    def new_reader(self, request: GenerationRequest | None = None) -> CallReader:
        return CallReader(
            self._progress,
            is_stream=self.is_stream,
            is_subscription=self.operation == "subscribe",
            secrets=self._secrets,
        )


def build_params(
    parts: Sequence[Mapping[str, Any]],
    interface: AgentInterface,
    ids: Mapping[str, str | None],
    body: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the parameters of a message.

    parts: in the form of 1.0. ids: the fields `messageId`, `contextId` and `taskId`; one that is
    None is left out. The same `messageId` for a repetition lets an agent recognise it. body: fields
    of the settings.
    """
    is_new = interface.version == "1.0"
    message: dict[str, Any] = {
        **{name: value for name, value in ids.items() if value is not None},
        "role": "ROLE_USER" if is_new else "user",
        "parts": parts if is_new else [_convert_part(part) for part in parts],
    }
    if not is_new:
        message["kind"] = "message"
    does_not_wait = {"returnImmediately": True} if is_new else {"blocking": False}
    configuration = {"acceptedOutputModes": _OUTPUT_MODES, **does_not_wait}
    given = body.get("configuration")
    if isinstance(given, dict):
        configuration |= given
    return {**body, "message": message, "configuration": configuration}


def build_parts(request: GenerationRequest, *, knows_context: bool) -> list[dict[str, Any]]:
    """Return the parts of a request's message, in the form of 1.0.

    knows_context: whether the agent has the conversation up to its last answer. Raise UpstreamError
    for a message that cannot be expressed.
    """
    messages = parse_messages(request)
    answered = [n for n, each in enumerate(messages) if each.role == "assistant"]
    last = next((n for n in reversed(range(len(messages))) if messages[n].role == "user"), 0)
    begin = (answered[-1] + 1 if answered else 0) if knows_context else last
    begin = min(begin, last)
    text = "" if knows_context else _write_transcript(messages[:begin])
    parts = [{"text": text}] if text else []
    return parts + [_build_part(part) for each in messages[begin:] for part in each.parts()]


def _write_transcript(messages: Sequence[ChatMessage]) -> str:
    """Return the messages as one text, empty without any."""
    lines = [
        f"{message.role}: {text}"
        for message in messages
        if (text := "".join(part.text for part in message.parts() if isinstance(part, TextPart)))
    ]
    return "\n\n".join(lines)


def _build_part(part: Any) -> dict[str, Any]:
    match part:
        case TextPart(text):
            return {"text": text}
        case ImagePart(image):
            return _build_file(image.url, None)
        case FilePart(file) if file.file_data is not None:
            return _build_file(file.file_data, file.filename)
        case FilePart():
            raise unsupported("an agent gets files by their data or URL, not by a file_id")
    raise unsupported(f"an agent supports no content of the type {part.get('type')!r}")


def _build_file(url: str, name: str | None) -> dict[str, Any]:
    named = {} if name is None else {"filename": name}
    if (data := parse_data_url(url)) is not None:
        media_type, content = data
        return {"raw": content, "mediaType": media_type, **named}
    return {"url": url, **named}


def _convert_part(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form of 0.3 of a part."""
    if "text" in part:
        return {"kind": "text", "text": part["text"]}
    if "data" in part:
        value = part["data"]
        return {"kind": "data", "data": value if isinstance(value, dict) else {"value": value}}
    names = {"raw": "bytes", "url": "uri", "mediaType": "mimeType", "filename": "name"}
    return {"kind": "file", "file": {names[name]: value for name, value in part.items()}}
