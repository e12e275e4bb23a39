"""The suite of external producers over gRPC, and what only gRPC has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc import StatusCode
from grpc.aio import AioRpcError

from hub.grpc import hub_pb2 as pb
from hub.grpc.hub_pb2_grpc import HubInternalStub
from tests.api.producer_contract import (
    KEY,
    Attempt,
    PartStream,
    Refused,
    Signals,
    StreamingContract,
    StreamingForm,
    end,
    text,
)
from tests.docs.snippets import DOCS, find_blocks, run_python
from tests.doubles import until
from tests.grpc.kit import Reading, bearer, details_of
from tests.http.kit import Hub

_JSON_FIELDS = ("metadata", "params", "messages", "previous", "checkpoint")


class GrpcForm(StreamingForm):
    """The calls of hub.v1.HubInternal."""

    def __init__(self, hub: Hub, channel: grpc.aio.Channel) -> None:
        super().__init__(hub)
        self.stub = HubInternalStub(channel)

    @property
    def metadata(self) -> list[tuple[str, str]]:
        return bearer(self.key)

    async def start(self, **fields: Any) -> dict[str, Any]:
        request = pb.StartExternalRequest(
            user=fields.pop("user", "alice") or "",
            on_busy=f"ON_BUSY_{fields.pop('on_busy', 'allow').upper()}",
            metadata=json.dumps(fields.pop("metadata", {})),
            **fields,
        )
        with refusals():
            return _as_dict(await self.stub.StartExternal(request, metadata=self.metadata))

    async def post(self, generation: str, lease: str, parts: Sequence[Any]) -> dict[str, Any]:
        async with self.stream(generation, lease) as stream:
            if parts:
                await stream.send(*parts)
            return await stream.finish()

    async def claim(self, **fields: Any) -> list[dict[str, Any]]:
        request = pb.ClaimJobsRequest(**{"queue": "support", "wait_seconds": 0, **fields})
        with refusals():
            response = await self.stub.ClaimJobs(request, metadata=self.metadata)
        return [_as_dict(job) for job in response.jobs]

    async def release(self, generation: str, lease: str) -> None:
        request = pb.ReleaseLeaseRequest(generation=generation, lease=lease)
        with refusals():
            await self.stub.ReleaseLease(request, metadata=self.metadata)

    @asynccontextmanager
    async def control(self, generation: str, lease: str) -> AsyncIterator[Signals]:
        request = pb.ControlRequest(generation=generation, lease=lease)
        call = self.stub.Control(request, metadata=self.metadata)
        with refusals():
            await call.initial_metadata()
            yield _signals(call)

    @asynccontextmanager
    async def stream(self, generation: str, lease: str) -> AsyncIterator[PartStream]:
        call = self.stub.PostParts(metadata=self.metadata)
        with refusals():
            await call.write(pb.PostPartsRequest(generation=generation, lease=lease))
            yield Messages(call)
        call.cancel()


class Messages(PartStream):
    """A call that goes on."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def send(self, *parts: Any) -> None:
        texts = [part.decode() if isinstance(part, bytes) else json.dumps(part) for part in parts]
        await self.call.write(pb.PostPartsRequest(parts=texts))

    async def finish(self) -> dict[str, Any]:
        await self.call.done_writing()
        return await self.wait_answer()

    async def wait_answer(self) -> dict[str, Any]:
        response = await self.call.read()
        try:
            while (following := await self.call.read()) is not grpc.aio.EOF:
                response = following
        except AioRpcError as error:
            if "draining" not in (error.details() or ""):
                raise
        return _as_dict(response)


class refusals:  # noqa: N801 - it is used as a function
    """Raise Refused for the error of a call in the block."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, AioRpcError):
            raise _describe(error) from error


def _describe(error: AioRpcError) -> Refused:
    fields: dict[str, Any] = {}
    for detail in details_of(error).details:
        information, invalid = ErrorInfo(), BadRequest()
        if detail.Unpack(information):
            fields.update(information.metadata)
        if detail.Unpack(invalid):
            fields["path"] = invalid.field_violations[0].field
    if "expected" in fields:
        fields["expected"] = int(fields["expected"])
    return Refused(**fields)


async def _signals(call: Any) -> Signals:
    reading = Reading(call)
    try:
        while True:
            event = await reading.next()
            yield event.event, json.loads(event.data)
    except EOFError:
        pass


def _as_dict(message: Any) -> dict[str, Any]:
    """Return a message as HTTP has it."""
    fields = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    for name in _JSON_FIELDS:
        if name in fields:
            fields[name] = json.loads(fields[name]) if fields[name] else None
    for each in fields.get("inputs", ()):
        each["value"] = None if each["expired"] else json.loads(each["value"])
    for each in fields.get("steering", ()):
        each["message"] = json.loads(each["message"])
    if "ack" in fields:
        fields["ack"] = int(fields["ack"])
        fields.setdefault("stop", None)
    if "topic" in fields and not fields["topic"]:
        del fields["topic"]
    return fields


class TestGrpc(StreamingContract):
    @pytest.fixture
    async def form(self, hub: Hub) -> AsyncIterator[GrpcForm]:
        async with (
            hub.serving_grpc(),
            grpc.aio.insecure_channel(f"127.0.0.1:{hub.grpc_internal_port}") as channel,
        ):
            yield GrpcForm(hub, channel)

    async def test_first_response_says_where_the_attempt_stands(
        self, form: GrpcForm, first: Attempt
    ) -> None:
        """Each call begins with an acknowledgement of what is published already."""
        await first.post(text(0, "a"), text(1, "b"))
        async with form.stream(first.generation, first.lease) as stream:
            assert isinstance(stream, Messages)
            assert (await stream.call.read()).ack == 1

    async def test_each_publish_is_acknowledged(self, form: GrpcForm, first: Attempt) -> None:
        """A producer that waits for each acknowledgement gets one for each of its messages, also
        for one without parts, which renews the lease.
        """
        async with form.stream(first.generation, first.lease) as stream:
            assert isinstance(stream, Messages)
            acks = [(await stream.call.read()).ack]
            for parts in ([text(0, "a"), text(1, "b")], [], [text(2, "c")]):
                await stream.send(*parts)
                acks.append((await stream.call.read()).ack)
        assert acks == [-1, 1, 1, 2]

    async def test_messages_that_arrive_together_are_published_together(
        self, form: GrpcForm, first: Attempt
    ) -> None:
        """A fast producer costs the broker fewer publishes than it sends messages."""
        async with form.stream(first.generation, first.lease) as stream:
            assert isinstance(stream, Messages)
            for n in range(200):
                await stream.send(text(n, "x"))
            await stream.send(end(200))
            await stream.call.done_writing()
            acks = [response.ack async for response in stream.call]
        assert acks == sorted(acks)
        assert acks[-1] == 200
        assert len(acks) < 100
        assert (await first.record())["text"] == "x" * 200

    @pytest.mark.parametrize("field", ["generation", "lease"])
    async def test_call_posts_to_one_attempt(
        self, form: GrpcForm, first: Attempt, field: str
    ) -> None:
        """The first message names the attempt, and no later one another attempt. The parts before
        a faulty message are published.
        """
        call = form.stub.PostParts(metadata=form.metadata)
        named = {"generation": first.generation, "lease": first.lease}
        part = json.dumps(text(0, "a"))
        await call.write(pb.PostPartsRequest(**{**named, field: ""}, parts=[part]))
        with pytest.raises(Refused) as caught, refusals():
            await call.read()
        assert caught.value.fields["path"] == field
        call = form.stub.PostParts(metadata=form.metadata)
        await call.write(pb.PostPartsRequest(**named, parts=[part]))
        await call.write(pb.PostPartsRequest(**named, parts=[json.dumps(text(1, "b"))]))
        await call.write(pb.PostPartsRequest(**{field: "another"}, parts=[]))
        with pytest.raises(Refused) as caught, refusals():
            while await call.read():
                pass
        assert caught.value.fields["path"] == field
        assert (await first.record())["text"] == "ab"

    async def test_message_that_is_too_long(self, form: GrpcForm, first: Attempt) -> None:
        """gRPC itself rejects a message above the size limit; what was published before is kept."""
        await first.post(text(0, "a"))
        async with form.stream(first.generation, first.lease) as stream:
            with pytest.raises(AioRpcError) as caught:
                await stream.send(text(1, "x" * 70_000))
                await stream.wait_answer()
            assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
        assert (await first.post(text(1, "b"), end(2)))["ack"] == 2

    async def test_call_without_a_message(self, form: GrpcForm) -> None:
        """A call that its client closes at once is refused in one sentence."""
        call = form.stub.PostParts(metadata=form.metadata)
        await call.done_writing()
        with pytest.raises(AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is StatusCode.INVALID_ARGUMENT
        assert "first message" in (caught.value.details() or "")

    async def test_client_that_disconnects(self, hub: Hub, form: GrpcForm, first: Attempt) -> None:
        """A cancelled call publishes what had arrived, and its attempt goes on in another call."""
        async with form.stream(first.generation, first.lease) as stream:
            await stream.send(text(0, "a"))
            await first.until_text("a")
        assert (await first.post(text(1, "b"), end(2)))["ack"] == 2
        assert (await first.record())["text"] == "ab"
        assert not [key for key in hub.node.metrics.responses if key[-1] == "500"]

    async def test_claim_whose_client_disconnects(self, hub: Hub, form: GrpcForm) -> None:
        """A claim that is cancelled takes no job: the next claim gets it."""
        request = pb.ClaimJobsRequest(queue="support", wait_seconds=30)
        call = form.stub.ClaimJobs(request, metadata=form.metadata)
        waiting = asyncio.ensure_future(call)
        await until(lambda: bool(hub.node.claims._waiting.total()))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(lambda: not hub.node.claims._waiting.total())
        ask = {"prompt": "hi", "upstream": "support"}
        _, created = await hub.call("POST", "/generations?user=alice", json=ask)
        (job,) = await form.claim()
        assert job["generation"] == created["generation"]

    async def test_example_of_the_page(self, hub: Hub, form: GrpcForm) -> None:
        """The example of docs/reference/grpc.md produces an answer."""
        (code,) = (
            block.code
            for block in find_blocks(DOCS / "reference" / "grpc.md")
            if "StartExternal" in block.code
        )
        names: dict[str, Any] = {}
        await run_python(code, names)
        await names["answer"](f"127.0.0.1:{hub.grpc_internal_port}", KEY, "alice")
        _, listed = await hub.call("GET", "/generations?user=alice")
        (answer,) = listed["generations"]
        _, record = await hub.call("GET", f"/generations/{answer['generation']}?user=alice")
        assert (record["status"], record["text"]) == ("done", "Refunds take five days.")

    async def test_calls_are_counted(self, hub: Hub, form: GrpcForm, first: Attempt) -> None:
        """The metrics count the calls by their results, as over HTTP."""
        await first.post(text(0, "a"))
        await first.refused(text(2, "c"))
        counted = hub.node.metrics.responses
        assert counted["internal", "hub.v1.HubInternal/StartExternal", "200"] == 1
        assert counted["internal", "hub.v1.HubInternal/PostParts", "200"] == 1
        assert counted["internal", "hub.v1.HubInternal/PostParts", "409"] == 1
