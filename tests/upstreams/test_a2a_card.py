"""Agent cards: which interface is used, and where requests go."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import UpstreamError
from hub.upstreams.a2a.card import AgentInterface, card_urls, read_card

BASE = "https://agent.test/a"
STREAMS = {"capabilities": {"streaming": True}}


def interface(url: str, binding: str = "JSONRPC", version: str = "1.0", **more: Any) -> Any:
    return {"url": url, "protocolBinding": binding, "protocolVersion": version, **more}


def card(*interfaces: Any, **more: Any) -> dict[str, Any]:
    return {"name": "Agent", "supportedInterfaces": [*interfaces], **STREAMS, **more}


OLD = {"url": "https://agent.test/rpc", "protocolVersion": "0.3.0", **STREAMS}
JSON_RPC = AgentInterface(url="https://agent.test/rpc")

CARDS: list[tuple[str, dict[str, Any], AgentInterface]] = [
    ("one interface", card(interface("https://agent.test/rpc")), JSON_RPC),
    (
        "a host of its own",
        card(interface("http://0.0.0.0:9999/rpc", tenant="shop")),
        AgentInterface(url="https://agent.test/rpc", tenant="shop"),
    ),
    (
        "gRPC first",
        card(interface("agent.test:50051", "GRPC"), interface("https://agent.test/v", "HTTP+JSON")),
        AgentInterface(url="https://agent.test/v", binding="http"),
    ),
    (
        "an older version first",
        card(
            interface("https://agent.test/old", version="0.3"), interface("https://agent.test/rpc")
        ),
        JSON_RPC,
    ),
    (
        "the configured endpoint",
        card(interface("https://agent.test/rpc"), interface(BASE + "/", "HTTP+JSON", "1.1")),
        AgentInterface(url=BASE + "/", binding="http"),
    ),
    ("0.3", OLD, AgentInterface(url="https://agent.test/rpc", version="0.3")),
    (
        "0.3 with gRPC preferred",
        {
            **OLD,
            "url": "https://agent.test/grpc",
            "preferredTransport": "GRPC",
            "additionalInterfaces": [{"url": "https://agent.test/rpc", "transport": "JSONRPC"}],
        },
        AgentInterface(url="https://agent.test/rpc", version="0.3"),
    ),
    (
        "no streaming",
        card(interface("https://agent.test/rpc"), capabilities={}),
        AgentInterface(url="https://agent.test/rpc", can_stream=False),
    ),
]


@pytest.mark.parametrize(("data", "expected"), [each[1:] for each in CARDS], ids=lambda _: "")
def test_the_interface_of_a_card(data: dict[str, Any], expected: AgentInterface) -> None:
    """It is the configured one, else the first of version 1; the host is always the configured."""
    assert read_card(json.dumps(data).encode(), BASE) == expected


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b"{}", b'{"detail": "x"}', b"[" * 99_999])
def test_what_is_no_card(data: bytes) -> None:
    """There may be one in another place."""
    assert read_card(data, BASE) is None


def test_a_card_without_a_known_interface() -> None:
    """The message says which interfaces the hub knows."""
    other = card(interface("https://agent.test/rpc", version="2.0"), interface("x", "GRPC"))
    with pytest.raises(UpstreamError, match=r"no interface of A2A 1\.0 or 0\.3"):
        read_card(json.dumps(other).encode(), BASE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("url", "supportedInterfaces", "capabilities", "protocolVersion", "additionalInterfaces")


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.sampled_from([OLD, CARDS[0][1]]))
def test_odd_cards_never_send_requests_to_another_host(odd: Any, sound: dict[str, Any]) -> None:
    """An odd field costs its interface, and is refused with a sentence at most."""
    with suppress(UpstreamError):
        chosen = read_card(json.dumps(sound | odd).encode(), BASE)
        assert chosen is None or chosen.url.startswith("https://agent.test")


def test_places_of_the_card() -> None:
    """It is below the configured URL, or at the root of its host."""
    assert card_urls("https://x/a/?k=1") == [
        "https://x/a/.well-known/agent-card.json?k=1",
        "https://x/.well-known/agent-card.json?k=1",
    ]
    assert card_urls("https://x") == ["https://x/.well-known/agent-card.json"]
    assert card_urls("https://x/.well-known/agent-card.json") == card_urls("https://x")
