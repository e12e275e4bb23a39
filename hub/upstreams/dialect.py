"""What a wire format declares: its endpoint, its request, its framing and its events.

A `Dialect` converts a `GenerationRequest` to an HTTP request, and events of the response to stream
parts. It does no I/O and knows no limits; http/upstream.py calls it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Literal, Protocol

import msgspec

from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.parts import Part, Usage
from hub.core.sse_decoder import ServerSentEvent
from hub.upstreams.framing import Framing


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP request for one generation.

    body: the JSON of a POST, or the query parameters of a GET. headers: those of the wire format;
    the headers of the endpoint are added to them. below: what follows the path of the wire format.
    """

    body: Mapping[str, Any]
    method: Literal["POST", "GET"] = "POST"
    headers: Mapping[str, str] = {}
    below: str = ""


class AuthHeader(msgspec.Struct, frozen=True):
    """The request header that carries the API key: its name and what precedes the key in it."""

    name: str
    prefix: str = ""

    def build(self, api_key: str | None) -> Mapping[str, str]:
        """Return the header for this key; without a key there is no header."""
        return {} if api_key is None else {self.name: self.prefix + api_key}


BEARER: Final = AuthHeader("Authorization", "Bearer ")  # RFC 6750, section 2.1


_TOKEN_NAMES: Final = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
_END_EVENTS: Final = frozenset({"stop", "end", "done", "finish"})


class UpstreamStreamError(Exception):
    """The upstream reported an error inside its stream; the argument is its JSON or text."""


class UnreadableEvent(Exception):
    """An event holds a part of the answer that cannot be read."""


class ResponseReader(Protocol):
    """Reads the events of one response and keeps what is needed between them.

    event_type: the type of the events' data. text_events: the values of the field `type` of events
    that may hold the answer's text; None if events have no types. has_whole_tool_names: whether the
    format never splits the name of a tool. finish_reason: why the answer is complete, in the words
    of finish_reasons.py, None until then. done: whether no event of interest can follow.
    """

    event_type: ClassVar[Any]
    text_events: ClassVar[frozenset[str] | None]
    has_whole_tool_names: ClassVar[bool]
    finish_reason: str | None
    done: bool

    def read(self, event: ServerSentEvent) -> Iterable[Part]:
        """Return the stream parts of an event, tool calls as the upstream sent them.

        Raise msgspec.DecodeError before the first part for an event that does not have the declared
        type: it is repaired and read again. Raise UpstreamStreamError for an error that the
        upstream reports, UnreadableEvent for text that cannot be read, and UpstreamError for any
        other violation.
        """
        ...


class Dialect(Protocol):
    """One wire format of LLM endpoints.

    kind: its name, the value of `upstreams.*.kind` in the settings. path: the path of the endpoint,
    appended to the base URL. auth_header: the header of the API key. framing: how the response is
    split into events.
    """

    kind: ClassVar[str]
    auth_header: ClassVar[AuthHeader]

    @property
    def path(self) -> str: ...

    @property
    def framing(self) -> Framing: ...

    def build_request(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> UpstreamRequest:
        """Convert a request to the wire format. context: for whom it is, as in ports.Upstream.

        Raise UpstreamError (`upstream_unsupported`) for a request that the format cannot express.
        """
        ...

    def new_reader(self, request: GenerationRequest | None = None) -> ResponseReader:
        """Return a reader for the response to a request. None: for a request that is not known."""
        ...


def is_empty_end(event: ServerSentEvent) -> bool:
    """Whether an event ends the answer by its name alone: it has no data."""
    return event.name in _END_EVENTS and not event.data.strip(' "')


def is_error(value: object) -> bool:
    """Whether a field `error` reports one: empty values and objects of empty values do not."""
    return bool(value) and not (isinstance(value, dict) and not any(value.values()))


def convert_usage(usage: object) -> list[Usage]:
    """Convert token counts named `input_tokens` and `output_tokens` to OpenAI's names.

    Some gateways send both; those under OpenAI's names are the right ones. usage: the decoded JSON.
    Return an empty list for a value that is not an object.
    """
    if not isinstance(usage, dict):
        return []
    counts = dict(usage)
    for name, openai_name in _TOKEN_NAMES.items():
        count = counts.pop(name, None)
        if counts.get(openai_name) is None and count is not None:
            counts[openai_name] = count
    return [Usage(counts)]
