"""The decoder against the WHATWG standard, section 9.2, and against any split of the bytes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.event import encode_json
from hub.core.sse import HEARTBEAT, encode_event, with_id, with_retry
from hub.core.sse_decoder import ServerSentEvent, SseDecoder, StreamTooLarge


def decode(*chunks: bytes) -> list[tuple[str, str, str]]:
    decoder = SseDecoder()
    return [(e.name, e.data, e.id) for chunk in chunks for e in decoder.feed(chunk)]


RULES = {
    "three lines of data (the standard's stock example)": (
        b"data: YHOO\ndata: +2\ndata: 10\n\n",
        [("message", "YHOO\n+2\n10", "")],
    ),
    "the standard's four blocks: a comment, an id, an id reset, a leading space": (
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n"
            b"data:  third event\n\n"
        ),
        [
            ("message", "first event", "1"),
            ("message", "second event", ""),
            ("message", " third event", ""),
        ],
    ),
    "data without a colon is an empty line; the unfinished block is dropped": (
        b"data\n\ndata\ndata\n\ndata:",
        [("message", "", ""), ("message", "\n", "")],
    ),
    "the space after the colon is optional": (
        b"data:test\n\ndata: test\n\n",
        [("message", "test", ""), ("message", "test", "")],
    ),
    "CRLF": (b"data: a\r\ndata: b\r\n\r\n", [("message", "a\nb", "")]),
    "CR": (b"data: a\rdata: b\r\r", [("message", "a\nb", "")]),
    "mixed line ends": (b"data: a\r\ndata: b\rdata: c\n\r\n", [("message", "a\nb\nc", "")]),
    "a byte order mark at the start": (b"\xef\xbb\xbfdata: a\n\n", [("message", "a", "")]),
    "only the first byte order mark": (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
    "the event's name holds for one event": (
        b"event: x\ndata: 1\n\ndata: 2\n\n",
        [("x", "1", ""), ("message", "2", "")],
    ),
    "a name without data is forgotten": (b"event: x\n\ndata: 1\n\n", [("message", "1", "")]),
    "an id with NUL is ignored": (b"id: 1\ndata: a\nid: 2\0\n\n", [("message", "a", "1")]),
    "an id without data is kept": (b"id: 7\n\ndata: a\n\n", [("message", "a", "7")]),
    "an unknown field is ignored": (
        b"Data: a\nfoo: b\ndata : c\ndata: d\n\n",
        [("message", "d", "")],
    ),
    "U+2028, U+0085, VT and FF do not end a line": (
        "data: a\u2028b\u0085c\x0bd\x0ce\n\n".encode(),
        [("message", "a\u2028b\u0085c\x0bd\x0ce", "")],
    ),
    "bytes that are not UTF-8 are replaced": (b"data: \xff\n\n", [("message", "\ufffd", "")]),
}


@pytest.mark.parametrize("rule", RULES)
def test_rule_of_the_standard(rule: str) -> None:
    """The bytes give exactly these events."""
    stream, events = RULES[rule]
    assert decode(stream) == events


@pytest.mark.parametrize("rule", RULES)
def test_rule_byte_by_byte(rule: str) -> None:
    """One byte at a time gives the same events."""
    stream, events = RULES[rule]
    assert decode(*(stream[n : n + 1] for n in range(len(stream)))) == events


def test_retry_takes_digits_only() -> None:
    """A retry time comes with its event; anything but digits is no time."""
    decoder = SseDecoder()
    (first, second) = decoder.feed(b"retry: 1500\ndata: a\n\nretry: 1.5\nretry: -1\ndata: b\n\n")
    assert (first.retry_ms, second.retry_ms) == (1500, None)


_lines = st.lists(
    st.sampled_from(
        [b"data: a", b"data: \xe4\xbd\xa0", b"id: 3", b"event: x", b": c", b"retry: 5", b"", b"x"]
    )
    | st.binary(max_size=6)
)


@given(_lines, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0, 80)))
def test_any_split_gives_the_same_events(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    """Where the network cuts the bytes does not matter."""
    stream = end.join(lines) + end + end
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assert decode(*chunks) == decode(stream)


@given(st.text(), st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), min_size=1))
def test_what_the_hub_writes_is_read_back(text: str, name: str) -> None:
    """Encoder and decoder agree on names, ids and the lines of any string."""
    body = encode_event(name, encode_json(text))
    stream = with_retry(with_id(body, "7kQ2x-4C"), 3000) + HEARTBEAT + body
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    first, second = SseDecoder().feed(stream)
    assert first == ServerSentEvent(name, lines, "7kQ2x-4C", 3000)
    assert second == ServerSentEvent(name, lines, "7kQ2x-4C")


def test_endless_line_is_refused() -> None:
    """A line that does not end is given up at the bound, in one chunk or in many."""
    with pytest.raises(StreamTooLarge):
        SseDecoder(max_line_bytes=100).feed(b"data: " + b"x" * 200 + b"\n")
    decoder = SseDecoder(max_line_bytes=100)
    with pytest.raises(StreamTooLarge):
        for _ in range(200):
            decoder.feed(b"x")


def test_endless_event_is_refused() -> None:
    """An event of ever more lines is given up at the bound."""
    decoder = SseDecoder(max_event_bytes=100)
    with pytest.raises(StreamTooLarge):
        for _ in range(20):
            decoder.feed(b"data: 1234567890\n")
