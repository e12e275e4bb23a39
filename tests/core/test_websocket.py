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


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG]),
        st.binary(max_size=120),
    )
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


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (b"\x81\x01x", 1002),  # not masked
        (masked(3, b""), 1002),  # an undefined frame type
        (b"\xc1" + masked(1, b"x")[1:], 1002),  # the bit of an extension
        (masked(9, b"x" * 126), 1002),
        (masked(9, b"x", fin=False), 1002),
        (masked(0, b"x"), 1002),
        (masked(1, b"x", fin=False) + masked(1, b"y"), 1002),
        (masked(1, b"x" * 51), 1009),
        (masked(1, b"x" * 40, fin=False) + masked(0, b"x" * 40), 1009),
        (b"\x81\xff" + b"\x7f" + b"\xff" * 7, 1009),
    ],
)
def test_broken(stream: bytes, code: int) -> None:
    """Each violation has its close code."""
    with pytest.raises(WebSocketError) as caught:
        list(WebSocketDecoder(max_message_bytes=50).feed(stream))
    assert caught.value.code == code


def test_close_frame() -> None:
    """The code, and a reason that is cut to fit."""
    assert encode_close_frame(1002, "x" * 500)[:4] == b"\x88\x7d\x03\xea"
