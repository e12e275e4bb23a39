"""hub.v1.Hub with a real client: generations, statuses, cancellation, deadlines, slow clients, TLS.

tests/http/test_transports.py tests what all transports have in common.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc import StatusCode
from grpc.aio import AioRpcError
from structlog.testing import capture_logs

from hub.core.channel import user_channel
from hub.core.close_reason import CloseReason
from hub.core.event import encode_json
from hub.core.generation import GenerationUpdate, UpdateKind
from hub.grpc import hub_pb2 as pb
from hub.grpc.hub_pb2_grpc import HubStub
from hub.ports.events import Publication
from hub.transports.grpc import GrpcWriter
from tests.certificates import write_certificate
from tests.grpc.kit import Kit, Reading, bearer, details_of, fails, jwt_authenticator, token
from tests.http.kit import LIMITS, running_hub


@pytest.mark.parametrize(
    ("request_", "metadata", "code", "sentence"),
    [
        (pb.ConnectRequest(), [], StatusCode.UNAUTHENTICATED, "a token is required"),
        (pb.ConnectRequest(), bearer("x"), StatusCode.UNAUTHENTICATED, "token is not valid"),
        (pb.ConnectRequest(), bearer("shop-key"), StatusCode.UNAUTHENTICATED, "not valid"),
        (
            pb.ConnectRequest(),
            [("cookie", "hub_token=" + token()[0][1].removeprefix("Bearer "))],
            StatusCode.UNAUTHENTICATED,
            "a token is required",
        ),
        (pb.ConnectRequest(user="bob"), token(), StatusCode.PERMISSION_DENIED, "another user"),
        (pb.ConnectRequest(topics=["x"]), token(), StatusCode.PERMISSION_DENIED, "topic 'x'"),
        (
            pb.ConnectRequest(topics=["a b"]),
            token(topics=["*"]),
            StatusCode.INVALID_ARGUMENT,
            "topic",
        ),
        (pb.ConnectRequest(cursor="?"), token(), StatusCode.INVALID_ARGUMENT, "cursor"),
        (pb.GenerateRequest(), token(), StatusCode.INVALID_ARGUMENT, "either prompt or messages"),
        (
            pb.GenerateRequest(prompt="x", params="[1]"),
            token(),
            StatusCode.INVALID_ARGUMENT,
            "params: expected `object`",
        ),
        (
            pb.GenerateRequest(prompt="x", upstream="none"),
            token(),
            StatusCode.INVALID_ARGUMENT,
            "no upstream 'none'",
        ),
        (pb.StopRequest(), token(), StatusCode.INVALID_ARGUMENT, "generation is required"),
        (pb.StopRequest(generation="g00nothing"), token(), StatusCode.NOT_FOUND, "no such"),
    ],
)
async def test_refused(
    kit: Kit, request_: Any, metadata: Any, code: StatusCode, sentence: str
) -> None:
    """An error has the gRPC status that matches the HTTP status, and one sentence."""
    method = type(request_).__name__.removesuffix("Request")
    error = await fails(getattr(kit.public, method)(request_, metadata=metadata, timeout=60))
    assert error.code() is code
    assert sentence in (error.details() or "")
    assert details_of(error).code == code.value[0]


@pytest.mark.parametrize(
    ("request_", "metadata", "code"),
    [
        (pb.GenerateRequest(prompt="x"), (), "token_required"),
        (pb.GenerateRequest(prompt="x"), bearer("no token"), "token_invalid"),
        (pb.GenerateRequest(prompt="x", upstream="nowhere"), token(), "unknown_upstream"),
        (pb.GenerateRequest(prompt="x", params="{"), token(), "invalid_field"),
        (pb.StopRequest(generation="g"), token(), "generation_not_found"),
    ],
)
async def test_code_of_the_error(kit: Kit, request_: Any, metadata: Any, code: str) -> None:
    """google.rpc.ErrorInfo carries the code of the error, as a reason and as it is elsewhere."""
    method = type(request_).__name__.removesuffix("Request")
    error = await fails(getattr(kit.public, method)(request_, metadata=metadata, timeout=60))
    information = ErrorInfo()
    assert details_of(error).details[-1].Unpack(information)
    assert (information.reason, information.domain) == (code.upper(), "hub")
    assert dict(information.metadata) == {"code": code}


async def test_bad_field_is_named(kit: Kit) -> None:
    """google.rpc.BadRequest names the invalid field."""
    request = pb.GenerateRequest(prompt="x", params="{")
    error = await fails(kit.public.Generate(request, metadata=token()))
    violation = BadRequest()
    assert details_of(error).details[0].Unpack(violation)
    assert violation.field_violations[0].field == "params"


async def test_sentence_that_quotes_is_cut(kit: Kit) -> None:
    """A sentence that quotes a long value is truncated, since trailers are limited."""
    for name in ("n" * 30_000, "ü" * 30_000):
        request = pb.GenerateRequest(prompt="x", upstream=name)
        error = await fails(kit.public.Generate(request, metadata=token()))
        assert error.code() is StatusCode.INVALID_ARGUMENT
        assert (error.details() or "").startswith(f"there is no upstream '{name[:200]}")
        assert details_of(error).message == error.details()


async def test_broker_away(kit: Kit) -> None:
    """A broker that is unavailable gives UNAVAILABLE and when to try again."""
    kit.hub.backend.is_unavailable = True
    request = pb.GenerateRequest(prompt="x")
    error = await fails(kit.public.Generate(request, metadata=token()))
    assert error.code() is StatusCode.UNAVAILABLE
    retry = RetryInfo()
    assert details_of(error).details[0].Unpack(retry)
    assert retry.retry_delay.seconds == 1
    assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"


async def test_hubs_own_fault(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected exception gives INTERNAL and reveals nothing of it."""

    async def broken(*args: Any) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(kit.hub.node.generations, "stop", broken)
    error = await fails(kit.public.Stop(pb.StopRequest(generation="g"), metadata=token()))
    assert error.code() is StatusCode.INTERNAL
    assert "secret" not in (error.details() or "")
    information = ErrorInfo()
    assert details_of(error).details[-1].Unpack(information)
    assert information.reason == "INTERNAL_ERROR"


async def test_stream_of_a_connection(kit: Kit) -> None:
    """A stream begins with hub.open and ends with UNAVAILABLE: the client may reconnect."""
    call = Reading(
        kit.public.Connect(pb.ConnectRequest(topics=["t-1"]), metadata=token(topics=["t-*"]))
    )
    opened = await call.next()
    assert (opened.event, opened.channel, opened.retry_ms) == ("hub.open", "", 3000)
    assert json.loads(opened.data)["user"] == "alice"
    long = "ü" * 9000
    await kit.publish(long)
    event = await call.next()
    assert (event.event, event.channel) == ("notification", "user:alice")
    assert json.loads(event.data) == long
    (connection,) = kit.hub.node.connections.connections
    assert connection.address == "127.0.0.1"
    assert (connection.writer.sent_bytes() or 0) > 18_000
    connection.send_heartbeat(0.0)
    assert await call.call.read() == pb.Events(heartbeat=pb.Heartbeat())
    await kit.hub.node.connections.drain(0.0, asyncio.Event())
    assert (await call.next()).event == "hub.bye"
    error = await fails(call)
    assert (error.code(), error.details()) == (
        StatusCode.UNAVAILABLE,
        "the stream has ended: draining",
    )


async def test_disconnected(kit: Kit) -> None:
    """A disconnected user gets a status that asks the client not to reconnect."""
    call = Reading(kit.public.Connect(pb.ConnectRequest(), metadata=token()))
    await call.next()
    await kit.hub.node.admin_commands.disconnect("alice")
    assert (await call.next()).event == "hub.bye"
    assert (await fails(call)).code() is StatusCode.PERMISSION_DENIED


async def start_stream(
    stream: Any, request: Any, seconds: float | None
) -> tuple[Reading, pb.Event]:
    """Return a stream and its first event. The deadline grows if the machine was too slow."""
    while True:
        call = Reading(stream(request, metadata=token(), timeout=seconds))
        try:
            return call, await call.next()
        except AioRpcError:
            assert seconds is not None
            assert seconds < 30
            seconds *= 4


@pytest.mark.parametrize("how", ["cancelled", "deadline", "cut off"])
async def test_client_that_leaves(kit: Kit, how: str) -> None:
    """However it does, nothing is left."""
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{kit.hub.grpc_port}")
    connect = HubStub(channel).Connect
    call, _ = await start_stream(connect, pb.ConnectRequest(), 0.3 if how == "deadline" else None)
    assert len(kit.hub.node.connections) == 1
    if how == "cancelled":
        call.call.cancel()
    elif how == "deadline":
        assert (await fails(call)).code() is StatusCode.DEADLINE_EXCEEDED
    else:
        await channel.close()
    await kit.until_empty()
    await channel.close()


class TestGenerate:
    """One generation."""

    async def test_question_and_answer(self, kit: Kit) -> None:
        """The request reaches the worker; the stream has a snapshot, deltas, an end, and OK."""
        request = pb.GenerateRequest(
            messages=[
                pb.Message(role="system", content="brief"),
                pb.Message(
                    role="assistant",
                    content="ha",
                    reasoning_content="hm",
                    reasoning_details='[{"data":"z"}]',
                ),
                pb.Message(role="user", content_json='[{"type":"text","text":"hi"}]'),
            ],
            model="m2",
            params='{"max_tokens":5,"temperature":0.5}',
            metadata='{"chat":7}',
            id="key-1",
        )
        call = Reading(kit.public.Generate(request, metadata=token()))
        snapshot = await call.next()
        assert snapshot.event == "generation.snapshot"
        generation = json.loads(snapshot.data)["generation"]
        record = await kit.hub.node.generations.find(generation, "alice")
        generation_request = record.request
        assert (generation_request.model, generation_request.params) == (
            "m2",
            {"max_tokens": 5, "temperature": 0.5},
        )
        assert isinstance(generation_request.params["max_tokens"], int)
        assert [m.content for m in generation_request.messages] == [
            "brief",
            "ha",
            [{"type": "text", "text": "hi"}],
        ]
        earlier_answer = generation_request.messages[1]
        assert earlier_answer.reasoning_content == "hm"
        assert earlier_answer.reasoning_details == [{"data": "z"}]
        assert generation_request.metadata == {"chat": 7}
        await kit.publish("not of the answer")
        again = Reading(kit.public.Generate(request, metadata=token()))
        joined = json.loads((await again.next()).data)
        assert joined["generation"] == generation
        stop = pb.StopRequest(generation=generation)
        stopped = await kit.public.Stop(stop, metadata=token())
        assert stopped.status == "stopping"
        for each in (call, again):
            last = await each.next()
            assert last.event == "generation.stopped"
            assert (await each.next()).event == "hub.bye"
            with pytest.raises(EOFError):
                await each.next()
            assert await each.call.code() is StatusCode.OK
        error = await fails(kit.public.Stop(stop, metadata=token("bob")))
        assert error.code() is StatusCode.PERMISSION_DENIED

    @pytest.mark.parametrize("how", ["cancelled", "deadline"])
    @pytest.mark.parametrize("stops", [True, False])
    async def test_client_that_leaves(self, kit: Kit, how: str, stops: bool) -> None:
        """on_disconnect decides whether the answer goes on."""
        request = pb.GenerateRequest(
            prompt="hi",
            on_disconnect=pb.ON_DISCONNECT_STOP if stops else pb.ON_DISCONNECT_CONTINUE,
        )
        seconds = 0.3 if how == "deadline" else None
        call, snapshot = await start_stream(kit.public.Generate, request, seconds)
        generation = json.loads(snapshot.data)["generation"]
        if how == "cancelled":
            call.call.cancel()
        else:
            assert (await fails(call)).code() is StatusCode.DEADLINE_EXCEEDED
        await kit.until_empty()
        async with asyncio.timeout(60):
            while True:
                record = await kit.hub.node.generations.find(generation, "alice")
                if record.status.ended or not stops:
                    break
                await asyncio.sleep(0.01)
        assert record.status.ended is stops

    async def test_deltas(self, kit: Kit) -> None:
        """Deltas are streamed as they are published."""
        call = Reading(kit.public.Generate(pb.GenerateRequest(prompt="hi"), metadata=token()))
        generation = json.loads((await call.next()).data)["generation"]
        steps = {
            "generation.started": ({}, GenerationUpdate(generation, 1, UpdateKind.BEGIN)),
            "generation.delta": (
                {"text": "He"},
                GenerationUpdate(generation, 1, UpdateKind.DELTA, entries=b"He"),
            ),
        }
        for name, (more, step) in steps.items():
            data = encode_json({"generation": generation, **more})
            publication = Publication(
                channel=user_channel("alice"), name=name, data=data, update=step
            )
            await kit.hub.backend.events.publish([publication])
        assert (await call.next()).event == "generation.started"
        event = await call.next()
        assert (event.event, json.loads(event.data)["text"]) == ("generation.delta", "He")


async def test_burst(kit: Kit) -> None:
    """Events that arrive faster than calls can be written share messages."""
    call = Reading(kit.public.Connect(pb.ConnectRequest(), metadata=token()))
    await call.next()
    burst = [
        Publication(channel=user_channel("alice"), name="e", data=b'"%0100d"' % n)
        for n in range(100)
    ]
    for _ in range(6):
        await kit.hub.backend.events.publish(burst)
    seen = [json.loads((await call.next()).data) for _ in range(600)]
    assert seen == [f"{n:0100d}" for n in range(100)] * 6
    assert call.messages < 10


async def test_streams_that_are_never_read() -> None:
    """Abandoned calls stay open until the client reads or cancels; their number per user is
    limited.
    """
    limits = msgspec.structs.replace(LIMITS, outbox_max_events=4)
    options = [("grpc.http2.lookahead_bytes", 64 * 1024), ("grpc.http2.bdp_probe", 0)]
    async with running_hub(jwt_authenticator(), limits=limits) as hub, hub.serving_grpc():
        target = f"127.0.0.1:{hub.grpc_port}"
        with capture_logs() as logs:
            async with grpc.aio.insecure_channel(target, options=options) as stalled:
                for _ in range(8):
                    call = HubStub(stalled).Connect(pb.ConnectRequest(), metadata=token())
                    await Reading(call).next()
                async with asyncio.timeout(60):
                    while len(hub.node.connections):
                        await hub.publish(to={"user": "alice"}, data="x" * 30_000)
                async with grpc.aio.insecure_channel(target) as other:
                    calls = HubStub(other)
                    for refused in (
                        calls.Connect(pb.ConnectRequest(), metadata=token()),
                        calls.Generate(pb.GenerateRequest(prompt="hi"), metadata=token()),
                    ):
                        error = await fails(refused)
                        assert error.code() is StatusCode.RESOURCE_EXHAUSTED
                    assert not hub.backend.generations.records
                    await Reading(calls.Connect(pb.ConnectRequest(), metadata=token("bob"))).next()
            async with asyncio.timeout(60):
                while hub.grpc._event_streams._abandoned:
                    await asyncio.sleep(0.01)
        assert not [line for line in logs if line["log_level"] == "error"]
        assert not [key for key in hub.node.metrics.responses if key[-1] == "500"]
        async with grpc.aio.insecure_channel(target) as again:
            await Reading(HubStub(again).Connect(pb.ConnectRequest(), metadata=token())).next()


async def test_slow_client(kit: Kit) -> None:
    """The buffer of a slow client is bounded; the client is disconnected and learns it when it
    reads.
    """
    limits = msgspec.structs.replace(LIMITS, outbox_max_events=20, outbox_max_bytes=128 * 1024)
    options = [("grpc.http2.lookahead_bytes", 64 * 1024), ("grpc.http2.bdp_probe", 0)]
    async with (
        running_hub(jwt_authenticator(), limits=limits) as hub,
        hub.serving_grpc(),
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.grpc_port}", options=options) as slow,
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.grpc_port}") as quick,
    ):
        stalled = Reading(HubStub(slow).Connect(pb.ConnectRequest(), metadata=token()))
        await stalled.next()
        reading = Reading(HubStub(quick).Connect(pb.ConnectRequest(), metadata=token()))
        await reading.next()
        count = 0
        async with asyncio.timeout(60):
            while len(hub.node.connections) > 1:
                await hub.publish(to={"user": "alice"}, data="x" * 16_000)
                assert (await reading.next()).event == "notification"
                count += 1
        assert 10 < count < 200
        seen = 0
        with pytest.raises(AioRpcError) as raised:
            while True:
                await stalled.next()
                seen += 1
        assert (raised.value.code(), raised.value.details()) == (
            StatusCode.UNAVAILABLE,
            "the stream has ended: slow",
        )
        assert seen < count


async def test_slow_client_that_reads_on_just_then(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow client that reads during its abort gets UNAVAILABLE, and never OK."""
    pump = GrpcWriter.pump

    async def pump_then_abort(writer: GrpcWriter, write: Any) -> None:
        async def written(message: bytes) -> None:
            await write(message)
            if b"notification" in message:
                (connection,) = kit.hub.node.connections.connections
                writer.abort()
                connection.close(CloseReason.SLOW)

        await pump(writer, written)

    monkeypatch.setattr(GrpcWriter, "pump", pump_then_abort)
    call = Reading(kit.public.Connect(pb.ConnectRequest(), metadata=token()))
    await call.next()
    await kit.publish("one")
    assert (await call.next()).event == "notification"
    error = await fails(call)
    assert (error.code(), error.details()) == (
        StatusCode.UNAVAILABLE,
        "the stream has ended: slow",
    )


async def test_too_many_from_an_address() -> None:
    """The limit per address gives RESOURCE_EXHAUSTED before a generation starts."""
    limits = msgspec.structs.replace(
        LIMITS,
        outbox_max_events=20,
        outbox_max_bytes=1024,
        write_buffer_bytes=1024,
        max_per_address=1,
    )
    async with (
        running_hub(limits=limits) as hub,
        hub.serving_grpc(),
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.grpc_port}") as channel,
    ):
        first = Reading(HubStub(channel).Connect(pb.ConnectRequest(user="alice")))
        await first.next()
        error = await fails(HubStub(channel).Connect(pb.ConnectRequest(user="bob")))
        assert error.code() is StatusCode.RESOURCE_EXHAUSTED
        retry = RetryInfo()
        assert details_of(error).details[0].Unpack(retry)
        assert retry.retry_delay.seconds == 10
        generate_request = pb.GenerateRequest(user="bob", prompt="x")
        assert (await fails(HubStub(channel).Generate(generate_request))).code() is error.code()
        assert not hub.backend.generations.records


async def test_tls(tmp_path: Path) -> None:
    """The listener requires TLS and serves its certificate."""
    tls = write_certificate(tmp_path)
    certificate = await asyncio.to_thread(Path(tls[0]).read_bytes)
    credentials = grpc.ssl_channel_credentials(certificate)
    async with running_hub() as hub, hub.serving_grpc(tls=tls):
        target = f"localhost:{hub.grpc_port}"
        async with grpc.aio.secure_channel(target, credentials) as channel:
            call = Reading(HubStub(channel).Connect(pb.ConnectRequest(user="alice")))
            assert (await call.next()).event == "hub.open"
            call.call.cancel()
        async with grpc.aio.insecure_channel(target) as channel:
            error = await fails(HubStub(channel).Connect(pb.ConnectRequest(user="alice")))
            assert error.code() is StatusCode.UNAVAILABLE


STREAM_CALLS = [("Connect", pb.ConnectRequest())]
ASK_CALLS = [
    ("Generate", pb.GenerateRequest(prompt="hi")),
    ("Stop", pb.StopRequest(generation="g00nothing")),
]


@pytest.mark.parametrize(
    ("scope", "refused"),
    [
        ("hub:stream", ASK_CALLS),
        ("openid hub:stream", ASK_CALLS),
        ("hub:ask", STREAM_CALLS),
        ("hub:ask hub:stream", []),
        ("openid", []),
        (None, []),
    ],
)
async def test_scopes(kit: Kit, scope: str | None, refused: list[Any]) -> None:
    """A call without the scope that it needs is PERMISSION_DENIED, and starts and stops nothing."""
    metadata = token(**({} if scope is None else {"scope": scope}))
    for name, request in (*STREAM_CALLS, *ASK_CALLS):
        call = getattr(kit.public, name)(request, metadata=metadata, timeout=60)
        if (name, request) in refused:
            error = await fails(call)
            assert error.code() is StatusCode.PERMISSION_DENIED
            assert "the token needs the scope hub:" in (error.details() or "")
            info = ErrorInfo()
            assert any(each.Unpack(info) for each in details_of(error).details)
            assert info.reason == "SCOPE_REQUIRED"
        elif name == "Stop":
            assert (await fails(call)).code() is StatusCode.NOT_FOUND
        else:
            assert (await call.read()).events
            call.cancel()
    started = len(kit.hub.backend.generations.records)
    assert started == (0 if ("Generate", ASK_CALLS[0][1]) in refused else 1)
