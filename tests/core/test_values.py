"""Channels, events, the outbox and generation ids: small values with plain rules."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.backends.redis.keys import _generation_keys, generation_keys
from hub.core.channel import (
    ALL,
    PARTITIONS,
    check_topic,
    check_user_id,
    partition_of,
    topic_channel,
    user_channel,
)
from hub.core.close_reason import CloseReason
from hub.core.event import check_event_name, check_idempotency_key, compact_json, encode_json
from hub.core.generation import Status, new_generation_id, partition_of_generation
from hub.core.outbox import Outbox
from hub.core.sse import HEARTBEAT, encode_event, with_id, with_retry
from hub.errors import BadRequest


@pytest.mark.parametrize(
    "name",
    [
        *("a", "A.b_c@d+e:f-9", "x" * 256, "auth0|5f7c", "google-oauth2|1", "spiffe://a/b?c#d"),
        *("o'hara@example.com", "a/b", "ä", "日本", "😀" * 256, "{hub}", "%2F", '"\\`$', ".."),
    ],
)
def test_good_names(name: str) -> None:
    """1 to 256 printable characters, as identity providers issue them."""
    assert check_user_id(name) == name
    assert check_topic(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "x" * 257, "a b", "a\n", "a\0", "\x7f", "\x85", "\xa0", "\u2028", "\u3000", "\ud800"],
)
def test_bad_names(name: str) -> None:
    """Any other name is refused, and the error names the rule."""
    for check in (check_user_id, check_topic):
        with pytest.raises(BadRequest, match="1 to 256 printable characters without white space"):
            check(name)


def test_comma_and_asterisk_are_for_users_only() -> None:
    """A comma separates topics, and an asterisk is a wildcard."""
    for name in ("a,b", "a*", "*"):
        assert check_user_id(name) == name
        with pytest.raises(BadRequest, match="commas and asterisks"):
            check_topic(name)


def test_partitions_spread_and_stay() -> None:
    """All 128 are used, and a channel has the same one on every node for ever."""
    used = {partition_of(user_channel(f"u{n}")) for n in range(5000)}
    assert used == set(range(PARTITIONS))
    assert [partition_of(c) for c in (user_channel("alice"), topic_channel("x"), ALL)] == [
        118, 1, 93,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["", "x" * 129, "a\rb", "a\nb", "a\0b", "hub.x", "generation.x", "presence.x"]
)
def test_bad_event_names(name: str) -> None:
    """No line breaks, and none of the hub's own names."""
    with pytest.raises(BadRequest):
        check_event_name(name)


def test_bad_idempotency_keys() -> None:
    """1 to 256 characters without line breaks."""
    for key in ("", "x" * 257, "a\nb"):
        with pytest.raises(BadRequest):
            check_idempotency_key(key)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_JSON)
def test_compact_json_is_one_line_for_everybody(value: object) -> None:
    """The same value, on one line by every definition of a line."""
    for text in (compact_json(json.dumps(value, indent=2).encode()), encode_json(value)):
        assert json.loads(text) == value
        assert len(text.decode().splitlines()) <= 1


def test_compact_json_refuses_what_is_none() -> None:
    """The error is msgspec's, which callers handle."""
    with pytest.raises(msgspec.DecodeError):
        compact_json(b"{")


def test_unicode_line_ends_are_escaped() -> None:
    """U+0085, U+2028 and U+2029 break lines in some clients."""
    raw = '"\u0085\u2028\u2029é"'.encode()
    assert compact_json(raw) == '"\\u0085\\u2028\\u2029é"'.encode()


def test_event_as_bytes() -> None:
    """JSON is on one line, a string is decoded; id and retry are inside the event."""
    assert encode_event("n", b'{"a":1}') == b'event: n\ndata: {"a":1}\n\n'
    assert encode_event("n", b'"a\\nb\\r\\nc\\rd"') == (
        b"event: n\ndata: a\ndata: b\ndata: c\ndata: d\n\n"
    )
    body = encode_event("n", b'""')
    assert with_retry(with_id(body, b"c"), 5) == b"retry: 5\nevent: n\ndata: \nid: c\n\n"
    assert with_id(body, None) == body
    assert HEARTBEAT == b": hb\n"


@given(st.text(), st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), min_size=1))
def test_nothing_is_injected(data: str, name: str) -> None:
    """Whatever a publisher sends, there is one event field, and otherwise only data."""
    lines = encode_event(name, encode_json(data)).decode().removesuffix("\n\n").split("\n")
    assert lines[0] == f"event: {name}"
    assert all(line.startswith("data: ") and "\r" not in line for line in lines[1:])


def test_outbox_is_bounded_in_count_and_bytes() -> None:
    """A full outbox refuses a frame and keeps the others; popping frames makes room."""
    outbox = Outbox(max_frames=3, max_bytes=10)
    assert [outbox.push(frame) for frame in (b"1234", b"56", b"78901", b"7890", b"")] == [
        True, True, False, True, False,
    ]  # fmt: skip
    assert len(outbox) == 3
    assert [outbox.pop(1), outbox.pop(5), outbox.pop(1)] == [b"1234", b"567890", b""]
    assert outbox.push(b"x" * 10)


def test_outbox_takes_one_frame_of_any_size() -> None:
    """A frame that exceeds the bound waits alone; the next one is refused until it is sent."""
    outbox = Outbox(max_frames=3, max_bytes=10)
    assert [outbox.push(b"x" * 30), outbox.push(b"y")] == [True, False]
    assert outbox.pop(1) == b"x" * 30
    assert outbox.push(b"y")


@given(st.integers(0, PARTITIONS - 1))
def test_generation_id_tells_its_partition(partition: int) -> None:
    """Any node finds the record by the id alone."""
    generation = new_generation_id(partition)
    assert partition_of_generation(generation) == partition


@pytest.mark.parametrize("text", ["", "g", "g80" + "a" * 16, "gff" + "a" * 16, "x00" + "a" * 16])
def test_what_is_no_generation_id(text: str) -> None:
    """Garbage, and partitions that do not exist."""
    assert partition_of_generation(text) is None


def test_ends_and_reasons() -> None:
    """Three states are final; the labels of close reasons are different words."""
    ended = {status for status in Status if status.ended}
    assert ended == {Status.DONE, Status.STOPPED, Status.FAILED}
    assert len({reason.label for reason in CloseReason}) == len(CloseReason)


def test_what_is_no_generations_id_is_not_remembered() -> None:
    """Long names in URLs do not fill the cache of names."""
    before = _generation_keys.cache_info().currsize
    for n in range(100):
        assert generation_keys(f"g00{n}" + "x" * 5000) is None
    assert _generation_keys.cache_info().currsize == before
    good = new_generation_id(5)
    assert generation_keys(good) is generation_keys(good)
