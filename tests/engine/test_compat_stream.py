"""A generation in another API's format: from its first event, resumed at any chunk, with a proper
end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from hub.compat.ai_sdk.encoder import AiSdkEncoder
from hub.compat.openai_chat.encoder import ChatCompletionEncoder
from hub.compat.openai_responses.encoder import ResponsesEncoder
from hub.compat.templates.encoder import TemplateEncoder
from hub.core.channel import partition_of, user_channel
from hub.core.close_reason import CloseReason
from hub.core.event import encode_json
from hub.core.generation import (
    Generation,
    GenerationRequest,
    GenerationUpdate,
    Message,
    Status,
    UpdateKind,
    new_generation_id,
)
from hub.engine.generations.compat_stream import CompatStream
from hub.engine.generations.generation_stream import GenerationStream
from hub.engine.generations.generations import Generations, ReplayStart
from hub.engine.streams.connections import Connections
from hub.engine.streams.heartbeat import HeartbeatWheel
from hub.engine.streams.stream_view import StreamView
from hub.ports.compat import AnswerEncoder
from hub.ports.events import Publication
from hub.testing.backend import MemoryBackend
from hub.transports.sse import SseEventEncoder
from tests.defaults import output_template
from tests.doubles import FakeClock, FakeWriter, new_connection, until

ALICE = user_channel("alice")
PLAIN = output_template(error="! {code}", end="end")


class Socket(FakeWriter):
    """Takes the last frames also when it is full, as the event loop's transport does; they are sent
    before it closes.
    """

    def write(self, frames: bytes) -> None:
        if self.is_full and not self.aborted:
            self._waiting += frames
        else:
            super().write(frames)

    @property
    def sent(self) -> bytes:
        """What the client will have received."""
        return self.written + self._waiting


class Stage:
    """A node with one generation of alice, and its readers."""

    def __init__(self) -> None:
        self.backend = MemoryBackend()
        self.clock = FakeClock()
        self.wheel = HeartbeatWheel(self.clock, 8.0)
        self.registry = Connections(
            self.backend.events,
            self.backend.subscriptions,
            self.wheel,
            self.clock,
            node="n",
            heartbeat_seconds=8.0,
        )
        self.generations = Generations(
            self.backend.events, self.backend.generations, self.backend.queue
        )
        self.id = ""
        self.deltas = 0
        self.readers: list[asyncio.Task[CloseReason]] = []

    async def begin(self) -> None:
        await self.noise()
        request = GenerationRequest([Message("user", "hi")], "main", "m1")
        self.id = (await self.generations.start("alice", request)).generation
        await self._publish(
            "started", {"attempt": 1}, GenerationUpdate(self.id, 1, UpdateKind.BEGIN)
        )

    async def publish_delta(self, text: str) -> None:
        step = GenerationUpdate(
            self.id, 1, UpdateKind.DELTA, index=self.deltas, entries=text.encode()
        )
        self.deltas += 1
        await self._publish("delta", {"i": self.deltas - 1, "text": text}, step)
        await self.noise()

    async def end(self, **more: Any) -> None:
        fields = {"finish_reason": "stop", **more}
        await self._publish(
            "done", fields, GenerationUpdate(self.id, 1, UpdateKind.END, Status.DONE)
        )

    async def noise(self) -> None:
        """Publish an event of another generation in the same channel."""
        other = new_generation_id(partition_of(ALICE))
        data = encode_json({"generation": other, "i": 0, "text": "not yours"})
        await self.backend.events.publish(
            [Publication(channel=ALICE, name="generation.delta", data=data)]
        )

    async def read(
        self, answer_encoder: AnswerEncoder | None = None, *, from_chunk: int = 0
    ) -> Socket:
        """Read the generation in another API's format."""
        replay = await self.generations.open_replay(self.id, "alice")
        answer_encoder = answer_encoder or TemplateEncoder(replay.record, PLAIN)
        return self.attach(replay, CompatStream(replay, answer_encoder, from_chunk=from_chunk))

    async def read_own_events(self) -> Socket:
        """Read the generation in the hub's own events."""
        replay = await self.generations.open_replay(self.id, "alice")
        return self.attach(replay, GenerationStream(replay.record, snapshot=True))

    def attach(self, replay: ReplayStart, view: StreamView) -> Socket:
        socket = Socket()
        connection = new_connection(
            "alice",
            [ALICE],
            socket,
            self.clock,
            connection_id=f"c{len(self.readers)}",
            encoder=SseEventEncoder(chunked=True),
            view=view,
            outbox_max_frames=100,
            outbox_max_bytes=10**6,
        )
        self.readers.append(
            asyncio.create_task(self.registry.attach_and_wait(connection, replay.cursor))
        )
        return socket

    async def _publish(self, name: str, fields: dict[str, Any], step: GenerationUpdate) -> None:
        data = encode_json({"generation": self.id, **fields})
        name = f"generation.{name}"
        await self.backend.events.publish(
            [Publication(channel=ALICE, name=name, data=data, update=step)]
        )


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A running generation with the text "a" and "b"."""
    stage = Stage()
    await stage.begin()
    await stage.publish_delta("a")
    await stage.publish_delta("b")
    yield stage
    for reader in stage.readers:
        reader.cancel()
    await asyncio.gather(*stage.readers, return_exceptions=True)


def body(writer: Socket) -> str:
    """Return what was sent: the data of each event in brackets, and `.` for the mark that ends a
    body.
    """
    text, record = writer.sent.decode(), ""
    while text:
        size, _, text = text.partition("\r\n")
        chunk, text = text[: int(size, 16)], text[int(size, 16) + 2 :]
        record += chunk or "."
    return record.replace("data: ", "[").replace("\n\n", "]")


async def test_reader_gets_the_whole_answer_and_its_end(stage: Stage) -> None:
    """The stored events, the live ones, and none of the channel's other events."""
    writer = await stage.read()
    await until(lambda: "[b]" in body(writer))
    await stage.publish_delta("c")
    await stage.end()
    assert await stage.readers[0] is CloseReason.ENDED
    assert body(writer) == "[a][b][c][end]."


@pytest.mark.parametrize("cut", range(6))
async def test_reader_resumes_at_any_chunk(stage: Stage, cut: int) -> None:
    """The number of the chunk is enough; after the last chunk only the trailer follows."""
    writer = await stage.read(from_chunk=cut)
    await stage.publish_delta("c")
    await stage.end()
    await stage.readers[0]
    assert body(writer) == "".join(["[a]", "[b]", "[c]", "[end]"][cut:]) + "."


async def test_log_that_lost_the_beginning_leaves_the_text(stage: Stage) -> None:
    """A new reader gets the text as one chunk, and then the rest."""
    stage.backend.events.begin_new_epoch(ALICE)
    writer = await stage.read()
    await until(lambda: "[ab]" in body(writer))
    await stage.publish_delta("c")
    await stage.end()
    await stage.readers[0]
    assert body(writer) == "[ab][c][end]."


async def test_resuming_where_the_log_was_lost_is_an_error(stage: Stage) -> None:
    """The error is in the client's format, because the chunk numbers are no longer valid."""
    stage.backend.events.begin_new_epoch(ALICE)
    writer = await stage.read(from_chunk=1)
    assert await stage.readers[0] is CloseReason.TRIMMED
    assert body(writer) == "[! log_trimmed][end]."


async def test_drain_cuts_the_body_and_does_not_end_it(stage: Stage) -> None:
    """The client's HTTP library must report a cut body, so that the client does not take it for the
    end.
    """
    writer = await stage.read()
    await until(lambda: "[b]" in body(writer))
    await stage.registry.drain(0.0, asyncio.Event())
    assert await stage.readers[0] is CloseReason.DRAINING
    assert body(writer) == "[a][b]"


@pytest.mark.parametrize("reason", [CloseReason.EXPIRED, CloseReason.DISCONNECTED])
async def test_final_close_before_the_end_is_an_error(stage: Stage, reason: CloseReason) -> None:
    """After an expired token or an admin command the client should not reconnect."""
    writer = await stage.read()
    await until(lambda: "[b]" in body(writer))
    next(iter(stage.registry.connections)).close(reason)
    assert body(writer) == f"[a][b][! {reason.label}][end]."


async def test_client_that_is_slow_at_the_end_gets_all_of_it(stage: Stage) -> None:
    """The frames that wait for its socket are written before the connection closes."""
    writer = await stage.read()
    await until(lambda: "[b]" in body(writer))
    writer.fill()
    await stage.publish_delta("c")
    await stage.end()
    await stage.readers[0]
    assert body(writer) == "[a][b][c][end]."


async def test_own_stream_of_a_slow_client_gets_its_end_too(stage: Stage) -> None:
    """The same holds for a stream in the hub's own events."""
    writer = await stage.read_own_events()
    await until(lambda: "generation.snapshot" in body(writer))
    writer.fill()
    await stage.publish_delta("c")
    await stage.end()
    await stage.readers[0]
    text = body(writer)
    assert '"text":"c"' in text
    assert "generation.done" in text
    assert "hub.bye" in text


async def test_heartbeat_before_the_first_chunk(stage: Stage) -> None:
    """A heartbeat is one comment line, also before the first chunk."""
    writer = await stage.read()
    await until(lambda: "[b]" in body(writer))
    next(iter(stage.registry.connections)).send_heartbeat(8.0)
    assert writer.sent.endswith(b"5\r\n: hb\n\r\n")


async def test_connection_that_ends_as_it_opens_gets_no_heartbeats(stage: Stage) -> None:
    """A connection to a generation that has ended leaves no entry in the heartbeat wheel."""
    await stage.end()
    await stage.read_own_events()
    stage.backend.events.begin_new_epoch(ALICE)
    await stage.read()
    await asyncio.gather(*stage.readers)
    await until(lambda: not stage.registry.connections)
    assert not stage.wheel._slot_of
    assert not any(stage.wheel._slots)


async def test_several_formats_of_one_answer(stage: Stage) -> None:
    """One log serves several formats at the same time."""
    record = (await stage.generations.open_replay(stage.id, "alice")).record
    writers = [
        await stage.read(answer_encoder)
        for answer_encoder in (
            ChatCompletionEncoder(record),
            AiSdkEncoder(record),
            TemplateEncoder(record, PLAIN),
        )
    ]
    await stage.end()
    await asyncio.gather(*stage.readers)
    assert body(writers[0]).endswith("[[DONE]].")
    assert '"type":"finish"' in body(writers[1])
    assert body(writers[2]) == "[a][b][end]."


@pytest.mark.parametrize("count", ["12", None, [1], {"of": 2}, 12.0])
async def test_usage_in_an_upstreams_own_form(stage: Stage, count: Any) -> None:
    """A count that is not a number is left out; the answer still ends."""
    record = (await stage.generations.open_replay(stage.id, "alice")).record
    answer_encoders = [ResponsesEncoder(record), ChatCompletionEncoder(record, include_usage=True)]
    writers = [await stage.read(answer_encoder) for answer_encoder in answer_encoders]
    await until(lambda: all('"b"' in body(writer) for writer in writers))
    await stage.end(usage={"prompt_tokens": count, "completion_tokens": 3})
    assert await asyncio.gather(*stage.readers) == [CloseReason.ENDED] * 2
    total = 15 if count in (12.0, "12") else 3
    assert all(f'"total_tokens":{total}' in body(writer) for writer in writers)


async def test_reader_whose_encoder_fails_harms_no_other(stage: Stage) -> None:
    """A reader whose encoder fails is cut off, and the others get the same event."""

    class Faulty(TemplateEncoder):
        def feed(self, name: str, data: bytes) -> Sequence[bytes]:
            if b'"c"' in data:
                raise ZeroDivisionError
            return super().feed(name, data)

    record = (await stage.generations.open_replay(stage.id, "alice")).record
    faulty = await stage.read(Faulty(record, PLAIN))
    writer = await stage.read()
    await until(lambda: all("[b]" in body(each) for each in (faulty, writer)))
    await stage.publish_delta("c")
    await stage.end()
    assert await stage.readers[0] is CloseReason.CLIENT_DISCONNECTED
    assert await stage.readers[1] is CloseReason.ENDED
    assert body(faulty) == "[a][b]"
    assert body(writer) == "[a][b][c][end]."


async def test_past_events_are_read_page_by_page(stage: Stage) -> None:
    """All events of the generation up to now, and of no other one."""
    for _ in range(250):
        await stage.publish_delta("x")
    replay = await stage.generations.open_replay(stage.id, "alice")
    names = [name async for name, _ in stage.generations.stored_events(replay)]
    assert names == ["generation.started", *["generation.delta"] * 252]


async def test_generation_of_an_older_release_is_shown_from_its_record(stage: Stage) -> None:
    """Its record does not contain the position where it started."""
    record = await stage.backend.generations.find(stage.id)
    assert isinstance(record, Generation)
    stage.backend.generations.records[stage.id] = _without_position(record)
    replay = await stage.generations.open_replay(stage.id, "alice")
    assert replay.events is not None
    assert [name for name, _ in replay.events] == ["generation.started", "generation.delta"]


def _without_position(record: Generation) -> Generation:
    return Generation(
        record.id, record.user, record.request, record.status, record.attempt, record.deltas,
        record.journal,
    )  # fmt: skip
