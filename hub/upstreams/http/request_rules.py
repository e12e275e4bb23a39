"""How the settings of one endpoint change the requests of its wire format.

Servers of the same format differ in details: one refuses `stream_options`, another has its own name
for `max_tokens`, a third does not know the role `developer`. `find_refused_field` recognises the
two most common of them in the error that such a server answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from hub.core.generation import GenerationRequest
from hub.errors import UpstreamError
from hub.upstreams.dialect import UpstreamRequest

_REFUSING_STATUSES: Final = frozenset({400, 422})
_REFUSED: Final = re.compile(
    r"not (?:\w+ )?(?:supported|allowed|permitted|accepted|recognized)|does(?: not|n't) support"
    r"|un(?:supported|known|recognized)|unexpected (?:keyword|field|parameter|argument|property)"
    r"|was unexpected|extra|forbidden|cannot find field|instead|不支持|不允许",
    re.IGNORECASE,
)


class RequestRules(msgspec.Struct, frozen=True, kw_only=True):
    """Changes of every request of an endpoint.

    omit: the dotted paths of fields that are left out; `*` stands for each item of a list. rename:
    the names of fields and what they become; a field that has the new name already is kept. roles:
    the roles of messages and what they become. stream: whether the answer is requested as a
    stream.
    """

    omit: tuple[str, ...] = ()
    rename: Mapping[str, str] = {}
    roles: Mapping[str, str] = {}
    stream: bool = True

    def apply_roles(self, request: GenerationRequest) -> GenerationRequest:
        """Return the request with the roles of its messages changed."""
        if not self.roles:
            return request
        messages = [
            msgspec.structs.replace(message, role=self.roles.get(message.role, message.role))
            for message in request.messages
        ]
        return msgspec.structs.replace(request, messages=messages)

    def apply(self, request: UpstreamRequest) -> UpstreamRequest:
        """Return the request with its body changed."""
        body: dict[str, Any] = dict(request.body)
        if not self.stream and "stream" in body:
            body["stream"] = False
            body.pop("stream_options", None)  # it is an error without a stream
        for name, new_name in self.rename.items():
            if name in body:
                value = body.pop(name)
                body.setdefault(new_name, value)
        if any("." in path for path in self.omit):
            body = msgspec.to_builtins(body)  # a copy down to the fields that are left out
        for path in self.omit:
            _remove(body, path.split("."))
        return msgspec.structs.replace(request, body=body)

    def merge(self, other: RequestRules) -> RequestRules:
        """Return rules that omit and rename what either does."""
        return msgspec.structs.replace(
            self, omit=(*self.omit, *other.omit), rename={**self.rename, **other.rename}
        )


def find_refused_field(error: UpstreamError, body: Mapping[str, Any]) -> RequestRules | None:
    """Return the rules that avoid this error, if the hub itself caused it.

    The hub adds `stream_options` to get the token usage, and `max_tokens` is called
    `max_completion_tokens` by newer servers. Other refused fields are those of the caller, who must
    learn of the error.
    """
    if error.status not in _REFUSING_STATUSES:
        return None
    named = [name for name in _ALTERNATIVES if re.search(rf"\b{name}\b", error.message)]
    for name in named:
        new_name = _ALTERNATIVES[name]
        if name in body and new_name is None:  # any complaint about it is avoided without it
            return RequestRules(omit=(name,))
        if name in body and new_name is not None and _REFUSED.search(error.message):
            return RequestRules(rename={name: new_name})
    return None


_ALTERNATIVES: Final[Mapping[str, str | None]] = {
    "stream_options": None,
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}


def _remove(value: Any, path: list[str]) -> None:
    """Remove the field at the path. A `*` means every item of a list; it does not remove items."""
    name, *rest = path
    if isinstance(value, list):
        items = value if name == "*" and rest else []
        for item in items:
            _remove(item, rest)
    elif isinstance(value, dict) and rest:
        _remove(value.get(name), rest)
    elif isinstance(value, dict):
        value.pop(name, None)
