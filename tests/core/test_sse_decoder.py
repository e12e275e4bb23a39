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
    """An event has its retry time; anything but digits is ignored."""
    decoder = SseDecoder()
    (first, second) = decoder.feed(b"retry: 1500\ndata: a\n\nretry: 1.5\nretry: -1\ndata: b\n\n")
    assert (first.retry_ms, second.retry_ms) == (1500, None)


@pytest.mark.parametrize(
    ("digits", "retry_ms"),
    [(b"0", 0), (b"00000000000000000005", 5), (b"9" * 5000, 10**12), ("٣".encode(), None)],
)
def test_retry_of_any_length(digits: bytes, retry_ms: int | None) -> None:
    """Leading zeros change nothing, a huge number is the longest time, other digits are ignored."""
    (event,) = SseDecoder().feed(b"retry: " + digits + b"\ndata: a\n\n")
    assert event.retry_ms == retry_ms


def test_unfinished_block_leaves_the_last_event_id() -> None:
    """A client that resumes after a cut gets the event that was cut, and skips none."""
    decoder = SseDecoder()
    decoder.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n")
    assert decoder.last_event_id == "1"
    decoder.feed(b"\n")
    assert decoder.last_event_id == "2"


_FIELDS = [b"data: a", "data: 你🌅".encode(), b"data", b"id: 3", b"event: x", b": c", b"retry: 5"]
_ENDS = [b"\n", b"\r\n", b"\r", b"\n\n", b"\r\r"]
_streams = st.tuples(
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb"]),
    st.lists(st.sampled_from(_FIELDS + _ENDS) | st.binary(max_size=6)).map(b"".join),
).map(b"".join)


def decode_within_bounds(chunks: list[bytes]) -> tuple[list[ServerSentEvent], bool]:
    """Return the events of a decoder with low limits, and whether a limit was exceeded."""
    decoder = SseDecoder(max_line_bytes=20, max_event_bytes=30)
    events: list[ServerSentEvent] = []
    for chunk in chunks:
        try:
            events += decoder.feed(chunk)
        except StreamTooLarge as error:
            return events + list(error.events), True
    return events, False


@given(_streams, st.lists(st.integers(0, 120)))
def test_any_split_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    """How the network splits the bytes affects neither the events nor the limits."""
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(edges)]  # some of them empty
    assert decode(*chunks) == decode(stream)
    assert decode_within_bounds(chunks) == decode_within_bounds([stream])


@given(st.text(), st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), min_size=1))
def test_what_the_hub_writes_is_read_back(text: str, name: str) -> None:
    """Encoder and decoder agree on names, ids and the lines of any string."""
    body = encode_event(name, encode_json(text))
    stream = with_retry(with_id(body, b"7kQ2x-4C"), 3000) + HEARTBEAT + body
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    first, second = SseDecoder().feed(stream)
    assert first == ServerSentEvent(name, lines, "7kQ2x-4C", 3000)
    assert second == ServerSentEvent(name, lines, "7kQ2x-4C")


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_line_of_the_longest_length(end: bytes) -> None:
    """The limit counts the line without its end: one byte more is refused."""
    assert SseDecoder(max_line_bytes=10).feed(b"data: abcd" + end + end) != []
    with pytest.raises(StreamTooLarge):
        SseDecoder(max_line_bytes=9).feed(b"data: abcd" + end + end)


def test_endless_line_is_refused() -> None:
    """A line that does not end is refused at the limit, in one chunk or in many."""
    with pytest.raises(StreamTooLarge):
        SseDecoder(max_line_bytes=100).feed(b"data: " + b"x" * 200 + b"\n")
    decoder = SseDecoder(max_line_bytes=100)
    with pytest.raises(StreamTooLarge):
        for _ in range(200):
            decoder.feed(b"x")


def test_endless_event_is_refused() -> None:
    """An event with ever more lines is refused at the limit."""
    decoder = SseDecoder(max_event_bytes=100)
    with pytest.raises(StreamTooLarge):
        for _ in range(20):
            decoder.feed(b"data: 1234567890\n")


OPTIONS = {
    "keep_space: the space after the colon belongs to the data": (
        {"keep_space": True},
        b"data: a\n\nevent: x\ndata:b\ndata: c\n\n",
        [("message", " a"), ("x", "b\n c")],
    ),
    "dispatch_empty: a name without data is an event": (
        {"dispatch_empty": True},
        b"event: stop\n\ndata: a\n\n\nevent:end\ndata\n\n",
        [("stop", ""), ("message", "a"), ("end", "")],
    ),
    "dispatch_unfinished: the blank line of the last event may be missing": (
        {"dispatch_unfinished": True},
        b"data: a\n\ndata: b\ndata: cut",
        [("message", "a"), ("message", "b")],
    ),
    "dispatch_unfinished: the last line may lack its end if it is a whole object": (
        {"dispatch_unfinished": True},
        b'data: a\n\nevent: x\ndata: {"b":1}',
        [("message", "a"), ("x", '{"b":1}')],
    ),
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("is_split", [False, True])
def test_option(option: str, is_split: bool) -> None:
    """Each option deviates from the standard in this way, however the bytes are split."""
    options, stream, expected = OPTIONS[option]
    decoder = SseDecoder(**options)
    chunks = [stream[n : n + 1] for n in range(len(stream))] if is_split else [stream]
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    assert [(event.name, event.data) for event in [*events, *decoder.end()]] == expected
