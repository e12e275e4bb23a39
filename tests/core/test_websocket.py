"""WebSocket frames: any split of the bytes gives the same messages; violations of the protocol."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.websocket import (
    Opcode,
    WebSocketDecoder,
    WebSocketError,
    encode_close_frame,
    encode_frame,
)


def masked(
    op: int, payload: bytes, *, fin: bool = True, mask: bytes = b"\x12\x34\x56\x78"
) -> bytes:
    """Return a client's frame."""
    length = len(payload)
    if length < 126:
        size = bytes([0x80 | length])
    elif length < 65536:
        size = b"\xfe" + length.to_bytes(2)
    else:
        size = b"\xff" + length.to_bytes(8)
    key = itertools.cycle(mask)
    body = bytes(byte ^ next(key) for byte in payload)
    return bytes([(0x80 if fin else 0) | op]) + size + mask + body


BYTES = st.binary(max_size=120)
TEXT = st.text(max_size=30).map(str.encode)
MESSAGES = st.lists(
    st.tuples(st.just(Opcode.TEXT), TEXT)
    | st.tuples(st.sampled_from([Opcode.BINARY, Opcode.PING, Opcode.PONG]), BYTES)
)


@given(MESSAGES, st.lists(st.integers(0, 400)))
def test_any_split(messages: list[tuple[Opcode, bytes]], cuts: list[int]) -> None:
    """How the network splits the bytes does not matter."""
    stream = b"".join(masked(op, payload) for op, payload in messages)
    decoder, seen, start = WebSocketDecoder(max_message_bytes=200), [], 0
    for cut in [*sorted(cuts), len(stream)]:
        seen += list(decoder.feed(stream[start : max(start, cut)]))
        start = max(start, cut)
    assert seen == messages


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536])
def test_lengths(length: int) -> None:
    """Each form of the length, encoded and decoded."""
    payload = b"x" * length
    assert list(WebSocketDecoder(max_message_bytes=70000).feed(masked(1, payload))) == [
        (Opcode.TEXT, payload)
    ]
    made = encode_frame(Opcode.TEXT, payload)
    assert made.endswith(payload)
    assert len(made) - length == (2 if length < 126 else 4 if length < 65536 else 10)


def test_fragments_with_a_ping_between() -> None:
    """A message in fragments, with a control frame between them."""
    stream = masked(1, b"Hel", fin=False) + masked(9, b"?") + masked(0, b"l", fin=False)
    stream += masked(0, b"o")
    seen = list(WebSocketDecoder(max_message_bytes=10).feed(stream))
    assert seen == [(Opcode.PING, b"?"), (Opcode.TEXT, b"Hello")]


def close(code: int, reason: bytes = b"") -> bytes:
    """Return a client's Close."""
    return masked(8, code.to_bytes(2) + reason)


UNDEFINED = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (b"\x81\x01x", 1002),  # not masked
        *((masked(op, b""), 1002) for op in UNDEFINED),
        *((masked(op, b"", fin=False)[:2], 1002) for op in UNDEFINED),  # before its payload arrives
        *((bytes([0x81 | bits << 4]) + masked(1, b"x")[1:], 1002) for bits in range(1, 8)),
        *((masked(op, b"x" * 126)[:2], 1002) for op in (8, 9, 10)),
        *((masked(op, b"", fin=False)[:2], 1002) for op in (8, 9, 10)),
        (masked(0, b"x"), 1002),
        (masked(0, b"x", fin=False), 1002),
        (masked(1, b"x") + masked(0, b"x"), 1002),
        (masked(1, b"x", fin=False) + masked(0, b"y") + masked(0, b"z"), 1002),
        (masked(1, b"x", fin=False) + masked(1, b"y"), 1002),
        (masked(2, b"x", fin=False) + masked(9, b"") + masked(2, b"y")[:2], 1002),
        (masked(1, b"x" * 51), 1009),
        (masked(1, b"x" * 40, fin=False) + masked(0, b"x" * 40)[:2], 1009),
        (b"\x81\xff" + b"\x7f" + b"\xff" * 7, 1009),
        (b"\x81\xff" + b"\x80" + b"\x00" * 7, 1002),  # the first bit of the length
        (b"\x81\xfe\x00\x7d", 1002),  # a length that is longer than it must be
        (b"\x81\xff" + (65535).to_bytes(8), 1002),
        (masked(8, b"\x03"), 1002),  # half of a code
        *((close(code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999)),
        *((close(code), 1002) for code in (5000, 65535)),
        (close(1000, b"\xce\xba\xe1"), 1007),
        (close(1000, b"\xff"), 1007),
    ],
)
def test_broken(stream: bytes, code: int) -> None:
    """Each violation has its close code."""
    with pytest.raises(WebSocketError) as caught:
        list(WebSocketDecoder(max_message_bytes=50).feed(stream))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        *(code.to_bytes(2) for code in (1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 4999)),
        b"\x03\xe8" + "é".encode() * 61,
    ],
)
def test_close_of_a_client(payload: bytes) -> None:
    """A Close may have no payload, or a valid code with at most 123 bytes of reason."""
    decoder = WebSocketDecoder(max_message_bytes=200)
    assert list(decoder.feed(masked(8, payload))) == [(Opcode.CLOSE, payload)]


@given(TEXT, st.lists(st.integers(0, 120)))
def test_characters_split_over_fragments(text: bytes, cuts: list[int]) -> None:
    """A text may be split inside a character, also by empty fragments and a ping."""
    ends = [*sorted(min(cut, len(text)) for cut in cuts), len(text)]
    decoder, start = WebSocketDecoder(max_message_bytes=200), 0
    seen: list[tuple[Opcode, bytes]] = []
    for number, end in enumerate(ends):
        op, fin = (0 if number else 1), number == len(ends) - 1
        seen += decoder.feed(masked(op, text[start:end], fin=fin) + masked(9, b""))
        start = end
    assert [each for each in seen if each[0] is not Opcode.PING] == [(Opcode.TEXT, text)]


INVALID = [
    *(b"\x80", b"\xbf", b"\xfe", b"\xff", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf"),
    *(b"\xc1\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80"),
    *(b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited", b"\xc3("),
]


@pytest.mark.parametrize("text", INVALID)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_invalid_text(text: bytes, size: int) -> None:
    """A text that is not UTF-8 ends with 1007, in one frame or split over fragments."""
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    stream = masked(1, b"", fin=False) + b"".join(masked(0, part, fin=False) for part in parts)
    with pytest.raises(WebSocketError) as caught:
        list(WebSocketDecoder(max_message_bytes=50).feed(stream))  # before the last fragment
    assert caught.value.code == 1007


@pytest.mark.parametrize("text", [b"\xce", b"\xe4\xbd", b"ok \xf0\x9f\x98"])
def test_text_that_ends_inside_a_character(text: bytes) -> None:
    """The start of a character is an error only where the message ends."""
    decoder = WebSocketDecoder(max_message_bytes=50)
    assert not list(decoder.feed(masked(1, text, fin=False)))
    with pytest.raises(WebSocketError) as caught:
        list(decoder.feed(masked(0, b"")))
    assert caught.value.code == 1007


def test_binary_is_no_text() -> None:
    """A binary message may have any bytes."""
    decoder = WebSocketDecoder(max_message_bytes=50)
    assert list(decoder.feed(masked(2, b"\xff\xfe"))) == [(Opcode.BINARY, b"\xff\xfe")]


def test_close_frame() -> None:
    """The code, and a reason that is cut to fit."""
    assert encode_close_frame(1002, "x" * 500)[:4] == b"\x88\x7d\x03\xea"
