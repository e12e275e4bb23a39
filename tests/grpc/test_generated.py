"""The modules generated from hub.proto, and the encoder written by hand for its messages."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.grpc import hub_pb2 as pb
from hub.transports.grpc import GrpcEventEncoder, split_messages
from tests.properties import limit_examples

ROOT = Path(__file__).parents[2]
MADE = ("hub_pb2.py", "hub_pb2.pyi", "hub_pb2_grpc.py")


def test_generated_modules_are_of_this_proto(tmp_path: Path) -> None:
    """`scripts/generate-grpc` was run after the last change of hub.proto, with these options."""
    (command,) = (
        line
        for line in (ROOT / "scripts" / "generate-grpc").read_text().splitlines()
        if "grpc_tools.protoc" in line
    )
    assert command.startswith(".venv/bin/python -m grpc_tools.protoc --proto_path=. ")
    subprocess.run(
        [
            sys.executable, "-m", "grpc_tools.protoc", "--proto_path=.",
            f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", f"--grpc_python_out={tmp_path}",
            "hub/grpc/hub.proto",
        ],
        cwd=ROOT,
        check=True,
    )  # fmt: skip
    for name in MADE:
        made = (tmp_path / "hub" / "grpc" / name).read_text()
        kept = (ROOT / "hub" / "grpc" / name).read_text()
        assert made == kept, f"{name}: run scripts/generate-grpc"


def test_options_of_other_languages() -> None:
    """Generators for Go, Java, C# and Swift need no further options."""
    options = pb.DESCRIPTOR.GetOptions()
    assert options.go_package == "hub/v1;hubv1"
    assert (options.java_package, options.java_multiple_files) == ("hub.v1", True)
    assert (options.csharp_namespace, options.swift_prefix) == ("Hub.V1", "HubV1")


@settings(max_examples=limit_examples(60))
@given(
    name=st.text(min_size=1, max_size=40),
    data=st.text(max_size=40),
    times=st.sampled_from([1, 10, 1000, 50_000]),
    channel=st.text(max_size=20),
    cursor=st.text("abcXYZ019.-~", max_size=40),
)
def test_event_by_hand_is_the_event(
    name: str, data: str, times: int, channel: str, cursor: str
) -> None:
    """The encoder writes the bytes that the generated class makes of the same fields."""
    data, transport = data * times, GrpcEventEncoder()
    body = transport.encode(name, data.encode(), channel)
    frame = transport.frame(body, cursor.encode())
    event = pb.Event(id=cursor, event=name, channel=channel, data=data)
    assert pb.Events.FromString(frame * 3) == pb.Events(events=[event] * 3)


@given(sizes=st.lists(st.integers(0, 400), min_size=1, max_size=12), max_bytes=st.integers(1, 900))
def test_frames_are_cut_between_events(sizes: list[int], max_bytes: int) -> None:
    """Messages stay below the size limit, unless one event alone is larger."""
    transport = GrpcEventEncoder()
    frames = [transport.frame(transport.encode("e", b"x" * size), b"c") for size in sizes]
    frames.insert(1, transport.heartbeat)
    messages = list(split_messages(b"".join(frames), max_bytes=max_bytes))
    assert b"".join(messages) == b"".join(frames)
    for message in messages:
        events = pb.Events.FromString(message).events
        assert len(message) <= max_bytes or len(events) <= 1
    for one, two in itertools.pairwise(messages):
        first = next(frame for frame in frames if two.startswith(frame))
        assert len(one) + len(first) > max_bytes


@pytest.mark.parametrize("cursor_bytes", [1, 20, 127, 128, 5000])
def test_nothing_depends_on_the_cursor_but_its_length(cursor_bytes: int) -> None:
    """Connections share the encoded event around a gap for their own cursor."""
    transport = GrpcEventEncoder()
    body = transport.encode("e", b'"x"')
    hole, cursor = b"\0" * cursor_bytes, b"c" * cursor_bytes
    before, separator, after = transport.frame(body, hole + b"rest").partition(hole)
    assert separator
    assert before + cursor + after == transport.frame(body, cursor + b"rest")


def test_opening() -> None:
    """hub.open contains how long to wait before reconnecting."""
    transport = GrpcEventEncoder()
    frame = transport.first_event(transport.encode("hub.open", b"{}"), b"c", 3000)
    opened = pb.Event(id="c", event="hub.open", data="{}", retry_ms=3000)
    assert pb.Events.FromString(frame).events == [opened]
