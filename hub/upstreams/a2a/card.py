"""The agent card of the Agent2Agent protocol: where an agent is called, how, and what it can do.

Source: a2a-protocol.org, specification 1.0, sections 4.4 and 8; the fields of 0.3 are its section
5.5. The configured URL is that of the agent, below which the card is, or that of its endpoint.

Requests go only to the host of the configured URL, because they carry its credentials: of another
URL in the card only the path counts. Agents behind a proxy often name an address of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from hub.errors import UpstreamError

CARD_PATH: Final = "/.well-known/agent-card.json"
NO_CARD_STATUSES: Final = frozenset({404, 405, 410})
"""The statuses of a server that has no card there."""
_ADDRESSES: Final = frozenset({"supportedInterfaces", "url"})
"""The fields of a card of 1.0 and of 0.3, of which one must be there."""
_BINDINGS: Final = {"JSONRPC": "jsonrpc", "HTTP+JSON": "http"}
Binding = Literal["jsonrpc", "http"]
Version = Literal["1.0", "0.3"]


class AgentInterface(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent is called.

    version: of the protocol; 1.0 stands for all of 1. tenant: sent with each request, if it is not
    empty. can_stream: whether the agent streams answers, and lets clients subscribe to tasks.
    """

    url: str
    binding: Binding = "jsonrpc"
    version: Version = "1.0"
    tenant: str = ""
    can_stream: bool = True


def card_urls(base_url: str) -> Sequence[str]:
    """Return where the card may be: below the configured URL, and at the root of its host."""
    base = urlsplit(base_url)
    if base.path.endswith(CARD_PATH):
        return [base_url]
    paths = dict.fromkeys((base.path.rstrip("/") + CARD_PATH, CARD_PATH))
    return [urlunsplit((base.scheme, base.netloc, path, base.query, "")) for path in paths]


def read_card(data: bytes, base_url: str) -> AgentInterface | None:
    """Return the interface of a card that the hub uses, None for what is no card.

    It is the one with the configured URL, if there is one; otherwise the first one of version 1, or
    of 0.3. Raise UpstreamError for an agent with other interfaces only.
    """
    try:
        card = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(card, dict) or not card.keys() & _ADDRESSES:
        return None
    supported = list(_read_interfaces(card, base_url))
    if not supported:
        message = "the agent card names no interface of A2A 1.0 or 0.3 over JSON-RPC or HTTP+JSON"
        raise UpstreamError("upstream_protocol", message, retryable=False)
    configured = [each for each in supported if _path(each.url) == _path(base_url) != ""]
    return min(configured or supported, key=lambda each: each.version != "1.0")


def _read_interfaces(card: dict[str, Any], base_url: str) -> Iterator[AgentInterface]:
    """Yield the interfaces that the hub supports, in the order of the card."""
    capabilities = card.get("capabilities")
    can_stream = isinstance(capabilities, dict) and capabilities.get("streaming") is True
    for url, binding, version, tenant in _declared(card):
        known = _known_version(version)
        has_binding = binding in _BINDINGS and (binding == "JSONRPC" or known == "1.0")
        if isinstance(url, str) and url and known is not None and has_binding:
            yield AgentInterface(
                url=_at_host(url, base_url),
                binding=_BINDINGS[binding],  # type: ignore[arg-type]  # one of the two
                version=known,
                tenant=tenant if isinstance(tenant, str) else "",
                can_stream=can_stream,
            )


def _declared(card: dict[str, Any]) -> Iterator[tuple[Any, str, Any, Any]]:
    """Yield URL, binding, version and tenant of each interface, first those of the form of 1.0."""
    for each in _objects(card.get("supportedInterfaces")):
        version = each.get("protocolVersion", "1.0")
        yield each.get("url"), str(each.get("protocolBinding")), version, each.get("tenant")
    version = card.get("protocolVersion", "0.3")
    if "url" in card:
        yield card["url"], str(card.get("preferredTransport", "JSONRPC")), version, ""
    for each in _objects(card.get("additionalInterfaces")):
        yield each.get("url"), str(each.get("transport")), version, ""


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _known_version(version: Any) -> Version | None:
    numbers = str(version).split(".")
    if numbers[0] == "1":
        return "1.0"
    return "0.3" if numbers[:2] in (["0", "3"], ["0", "2"]) else None


def _at_host(url: str, base_url: str) -> str:
    """Return the URL at the host of the base URL."""
    given, base = urlsplit(url), urlsplit(base_url)
    return urlunsplit((base.scheme, base.netloc, given.path, given.query or base.query, ""))


def _path(url: str) -> str:
    return urlsplit(url).path.rstrip("/")
