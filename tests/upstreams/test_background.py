"""Answers in background mode: read on behind a cut, also by a reader that saw nothing before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from hub.core.call_numbers import CallNumbers
from hub.core.durable import Checkpoint, Restart, ResumePoint, StreamOutput
from hub.core.folded_parts import FoldedParts
from hub.core.part_events import to_event
from hub.core.parts import Finished, Part, Text, Usage
from hub.errors import UpstreamError
from hub.http.server import ListenAddress, listen
from hub.upstreams.http.reattaching import AnswerLost, ReattachingUpstream
from hub.upstreams.openai.background import BackgroundResponses
from hub.upstreams.openai.responses import OpenAiResponses
from hub.upstreams.reading.stream_reader import StreamReader
from hub.upstreams.simulated.answers import choose_answer
from hub.upstreams.simulated.server import SimulatedUpstream
from tests.defaults import simulation
from tests.engine.test_resumable import World, fold
from tests.properties import limit_examples
from tests.topologies import free_ports
from tests.upstreams.kit import REQUEST, build_upstream
from tests.upstreams.responses import ITEMS, build_events

DIALECT = OpenAiResponses({})


class Answer:
    """What readers of the hub have: the parts so far, and how many come before the newest point."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.point: Any = None
        self.parts_at_point = 0

    def take(self, parts: Sequence[Part], point: Any) -> None:
        usage = [part for part in parts if isinstance(part, Usage)]  # it comes behind the point
        self.parts += [part for part in parts if not isinstance(part, Usage)]
        if point is not None:
            self.point = json.loads(msgspec.json.encode(point))
            self.parts_at_point = len(self.parts)
        self.parts += usage

    def take_over(self) -> None:
        """Another worker continues: the parts behind the point are void."""
        del self.parts[self.parts_at_point :]

    def folded(self) -> list[dict[str, Any]]:
        folded, numbers = FoldedParts(), CallNumbers()
        for part in numbers.number(self.parts):
            if not isinstance(part, Usage | Finished):
                folded.apply(*to_event(part))
        return folded.parts


@given(st.lists(ITEMS, max_size=5), st.lists(st.tuples(st.integers(0, 6), st.booleans())))
def test_readers_that_take_over_read_the_same_answer(
    items: list[tuple[str, Any]], cuts: list[tuple[int, bool]]
) -> None:
    """For random items, and connections that end after any number of events.

    cuts: how many events each connection has, and whether another worker follows.
    """
    events = build_events(items)
    whole = StreamReader(DIALECT, 2**20, ())
    expected = Answer()
    expected.take([*whole.feed(b"".join(events)), *whole.finish()], None)

    answer = Answer()
    dialect = BackgroundResponses(DIALECT)
    response = dialect.new_reader(None)
    reader = StreamReader(DIALECT, 2**20, (), response=response)
    for count, is_takeover in [*cuts, (len(events), False)]:
        first = 0 if response.position is None else response.position.sequence_number + 1
        for event in events[first : first + count]:
            answer.take(reader.feed(event), response.point)
        if is_takeover:
            answer.take_over()
            response = dialect.new_reader(answer.point)
            reader = StreamReader(DIALECT, 2**20, (), response=response)
        else:
            response.reattach()
            reader.reconnect()
    answer.take(reader.finish(), None)
    assert answer.folded() == expected.folded()
    for kind in (Usage, Finished):
        last_parts = [part for part in answer.parts if isinstance(part, kind)]
        assert last_parts == [part for part in expected.parts if isinstance(part, kind)]


class Server:
    """A server with one answer. limits: how many events each connection gets before it is cut."""

    def __init__(self, events: Sequence[bytes], limits: Sequence[int] = ()) -> None:
        self.events = events
        self.limits = list(limits)
        self.requests: list[tuple[str, Any]] = []
        self.statuses: list[int] = []  # of the next attempts to attach the answer
        self.cancelled = 0

    @property
    def generated(self) -> int:
        return sum(method == "POST" for method, _ in self.requests)

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([
            web.post("/v1/responses", self._begin),
            web.get("/v1/responses/{id}", self._attach),
            web.post("/v1/responses/{id}/cancel", self._cancel),
        ])  # fmt: skip
        return app

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(("POST", await request.json()))
        return await self._send(request, 0)

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(("GET", dict(request.query)))
        if self.statuses:
            return web.json_response({"error": {"message": "no"}}, status=self.statuses.pop(0))
        return await self._send(request, int(request.query["starting_after"]) + 1)

    async def _cancel(self, request: web.Request) -> web.Response:
        self.cancelled += 1
        return web.json_response({})

    async def _send(self, request: web.Request, first: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        limit = self.limits.pop(0) if self.limits else None
        end = len(self.events) if limit is None else first + limit
        await response.write(b"".join(self.events[first:end]))
        if limit is not None and request.transport is not None:
            await response.write(b"event: response.output_text.del")  # cut in the middle
            request.transport.abort()
        return response


@asynccontextmanager
async def running(app: web.Application, **options: Any) -> AsyncIterator[ReattachingUpstream]:
    address = ListenAddress("127.0.0.1", 0, "x")
    async with (
        listen(app, address, cancel_handlers=True, shutdown_timeout_seconds=0.1) as port,
        aiohttp.ClientSession() as session,
    ):
        http = build_upstream(session, f"http://127.0.0.1:{port}/v1", DIALECT, **options)
        yield ReattachingUpstream(http, BackgroundResponses(DIALECT), sleep=at_once)


async def at_once(seconds: float) -> None:
    await asyncio.sleep(0)


async def read(
    upstream: ReattachingUpstream, checkpoint: Checkpoint | None = None
) -> list[StreamOutput]:
    async with aclosing(upstream.resumable_stream(REQUEST, None, checkpoint)) as stream:
        return [each async for output in stream for each in output]


def text_of(output: Sequence[StreamOutput]) -> str:
    return "".join(part.text for part in output if isinstance(part, Text))


def checkpoint_at(output: Sequence[StreamOutput], number: int) -> Checkpoint:
    """Return the checkpoint of a point, the first one is 0."""
    points = [each for each in output if isinstance(each, ResumePoint)]
    return Checkpoint(value=msgspec.json.encode(points[number].value), folded=[])


MESSAGE = [("message", (["The ", "sky ", "is ", "blue."], False, None))]


@settings(max_examples=limit_examples(25), deadline=None)
@given(
    st.lists(ITEMS, max_size=4),
    st.lists(st.integers(1, 6), max_size=4),
    st.lists(st.tuples(st.integers(2, 8), st.integers(0, 2)), max_size=4),
)
def test_upstream_generates_once_whatever_breaks(
    items: list[tuple[str, Any]], limits: list[int], crashes: list[tuple[int, int]]
) -> None:
    """For random answers, cut connections, and workers that are killed while they publish.

    The readers of the hub have what the upstream sent, and it was asked once.
    """

    async def run() -> None:
        server = Server(build_events(items))
        async with running(server.app()) as upstream:
            quiet = World(upstream)
            await quiet.run()
            server.requests.clear()
            server.limits = list(limits)
            world = World(upstream, crashes)
            await world.run()
        events = await world.events()
        assert fold(events) == fold(await quiet.events()) == (await world.record()).parts
        assert events[-1][0] == "generation.done"
        assert events[-1][1]["usage"]["completion_tokens"] == 4
        assert server.generated == 1
        assert "generation.restarted" not in [name for name, _ in events]

    asyncio.run(run())


async def test_request_and_reattachment() -> None:
    """The answer is requested in the background, and attached behind its newest event."""
    server = Server(build_events(MESSAGE), [4, 1])
    async with running(server.app()) as upstream:
        output = await read(upstream)
    assert text_of(output) == "The sky is blue."
    (_, body), *attached = server.requests
    assert (body["background"], body["store"], body["stream"]) == (True, True, True)
    assert attached == [
        ("GET", {"stream": "true", "starting_after": "3"}),
        ("GET", {"stream": "true", "starting_after": "4"}),
    ]
    assert Restart() not in output


async def test_takeover_sends_the_number_of_the_point() -> None:
    """Another worker knows only the point, and reads what follows it."""
    server = Server(build_events(MESSAGE), [4])
    async with running(server.app()) as upstream:
        first = await read(upstream)
        server.requests.clear()
        rest = await read(upstream, checkpoint_at(first, 0))
    assert server.requests == [("GET", {"stream": "true", "starting_after": "3"})]
    assert text_of(first[: first.index(next(e for e in first if isinstance(e, ResumePoint)))]) + (
        text_of(rest)
    ) == ("The sky is blue.")


async def test_connection_that_is_cut_before_the_first_event() -> None:
    """Nobody knows the id of the answer then: the failure is that of any request."""
    server = Server(build_events(MESSAGE), [0])
    async with running(server.app()) as upstream:
        with pytest.raises(UpstreamError) as caught:
            await read(upstream)
    assert caught.value.code == "upstream_truncated"
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 404, 410])
async def test_answer_that_is_not_there_any_more_is_restarted(status: int) -> None:
    """All parts so far are void, and the answer is generated anew, once."""
    server = Server(build_events(MESSAGE), [4])
    server.statuses = [status]
    async with running(server.app()) as upstream:
        output = await read(upstream)
    assert text_of(output[: output.index(Restart())]) == "The "
    assert text_of(output[output.index(Restart()) :]) == "The sky is blue."
    assert server.generated == 2


async def test_answer_that_is_lost_again_fails() -> None:
    """There is one new generation at most."""
    server = Server(build_events(MESSAGE), [4, 4])
    server.statuses = [404, 404]
    async with running(server.app()) as upstream:
        with pytest.raises(AnswerLost):
            await read(upstream)
    assert server.generated == 2


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_key_is_reported(status: int) -> None:
    """Another generation would be refused as well."""
    server = Server(build_events(MESSAGE), [4])
    server.statuses = [status]
    async with running(server.app()) as upstream:
        with pytest.raises(UpstreamError) as caught:
            await read(upstream)
    assert (caught.value.status, server.generated) == (status, 1)


async def test_busy_server_is_asked_again() -> None:
    """A status that may pass costs nothing."""
    server = Server(build_events(MESSAGE), [4])
    server.statuses = [503, 429]
    async with running(server.app()) as upstream:
        assert text_of(await read(upstream)) == "The sky is blue."
    assert server.generated == 1


async def test_hole_in_the_events_is_noticed() -> None:
    """A server that has dropped events does not make a text with a hole."""
    server = Server(build_events(MESSAGE), [4])
    async with running(server.app()) as upstream:
        first = checkpoint_at(await read(upstream), 0)
        lost, server.events = server.events, [*server.events[:4], b"", *server.events[5:]]
        output: list[StreamOutput] = []
        stream = upstream.resumable_stream(REQUEST, None, first)
        async with aclosing(stream):
            async for each in stream:
                output += each
                if Restart() in each:
                    server.events = lost
    assert text_of(output[output.index(Restart()) :]) == "The sky is blue."


async def test_whole_response_instead_of_events_is_not_taken_for_the_rest() -> None:
    """A server may ignore `stream` of the query."""
    server = Server(build_events(MESSAGE), [4])
    async with running(server.app()) as upstream:
        first = checkpoint_at(await read(upstream), 0)
        whole = json.loads(server.events[-1].split(b"data: ")[1])["response"]
        events, server.events = server.events, [b""] * 4 + [json.dumps(whole).encode()]
        output: list[StreamOutput] = []
        stream = upstream.resumable_stream(REQUEST, None, first)
        async with aclosing(stream):
            async for each in stream:
                output += each
                if Restart() in each:
                    server.events = events
    assert text_of(output[output.index(Restart()) :]) == "The sky is blue."


async def test_total_time_counts_for_all_connections() -> None:
    """An answer does not get more time because its connection is cut."""
    async with running(SimulatedUpstream(simulation(fault="cut:3")).app()) as upstream:
        upstream._http.endpoint._options = msgspec.structs.replace(
            upstream._http.endpoint._options,
            timeouts=msgspec.structs.replace(
                upstream._http.endpoint._options.timeouts, total_seconds=0.3
            ),
        )
        with pytest.raises(UpstreamError) as caught:
            await read(upstream)
    assert caught.value.code in ("upstream_timeout", "upstream_truncated")


async def test_answer_for_somebody_who_cannot_continue_is_no_background_answer() -> None:
    """It ends with its connection, so that nothing is generated for nobody."""
    server = Server(build_events(MESSAGE))
    async with running(server.app()) as upstream, aclosing(upstream.stream(REQUEST)) as stream:
        assert text_of([part async for parts in stream for part in parts]) == "The sky is blue."
    assert "background" not in server.requests[0][1]


@pytest.mark.parametrize("value", [b"0", b"{}", b'{"id":1}', b'{"id":"r","sequence_number":"x"}'])
async def test_point_of_something_else_restarts(value: bytes) -> None:
    """The settings of the upstream have changed since the point was stored."""
    server = Server(build_events(MESSAGE))
    async with running(server.app()) as upstream:
        checkpoint = Checkpoint(value=value, folded=[])
        output = await read(upstream, checkpoint)
        await upstream.cancel(REQUEST, checkpoint)
    assert output[0] == Restart()
    assert text_of(output) == "The sky is blue."
    assert server.cancelled == 0


async def test_cancellation_that_fails_is_logged() -> None:
    """The answer has ended in the hub, so nobody waits for more."""
    (port,) = free_ports(1)
    point = Checkpoint(value=b'{"id":"resp_1","sequence_number":3}', folded=[])
    async with aiohttp.ClientSession() as session:
        http = build_upstream(session, f"http://127.0.0.1:{port}/v1", DIALECT)
        with capture_logs() as logs:
            await ReattachingUpstream(http, BackgroundResponses(DIALECT)).cancel(REQUEST, point)
    assert [log["event"] for log in logs] == ["upstream.cancel_failed"]


async def test_simulated_server() -> None:
    """It counts one answer over any number of connections, and forgets and cancels on demand."""
    text = choose_answer("为什么天空是蓝色的？")
    quick = simulation(tokens_per_second=5000.0, first_token_seconds=0.0, fault="cut:40")
    simulated = SimulatedUpstream(quick)
    async with running(simulated.app()) as upstream:
        output = await read(upstream)
        await upstream.cancel(REQUEST, checkpoint_at(output, 0))  # of an answer that is complete
    assert text_of(output) == text
    assert (simulated._started, simulated._background.cancelled) == (1, 0)

    simulated = SimulatedUpstream(simulation(fault="forget", tokens_per_second=1.0))
    async with running(simulated.app()) as upstream:
        stream = upstream.resumable_stream(REQUEST, None, None)
        first = await anext(stream)
        await stream.aclose()
        assert simulated._running == 1  # nobody reads it, and it goes on
        await upstream.cancel(REQUEST, checkpoint_at(first, 0))
        await upstream.cancel(REQUEST, checkpoint_at(first, 0))
        again = upstream.resumable_stream(REQUEST, None, checkpoint_at(first, 0))
        assert await anext(again) == [Restart()]
        await again.aclose()
    assert simulated._background.cancelled == 1
