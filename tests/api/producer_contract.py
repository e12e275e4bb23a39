"""What external producers get, whichever protocol they speak: one suite for HTTP and gRPC."""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from tests.doubles import until
from tests.http.kit import Hub, running_hub

KEY, WRONG_KEY = "p" * 20, "q" * 20
KEYS = ApiKeys(
    [
        ApiKey("agents", hash_key(KEY), frozenset({"produce"})),
        ApiKey("pages", hash_key(WRONG_KEY), frozenset({"publish", "read"})),
    ]
)
Signals = AsyncIterator[tuple[str, Any]]


class Refused(Exception):
    """An error: its code, and the fields that it has."""

    def __init__(self, code: str, **fields: Any) -> None:
        super().__init__(code, fields)
        self.code = code
        self.fields = {name: value for name, value in fields.items() if value is not None}

    def __str__(self) -> str:
        return f"{self.code} {self.fields}"


class ProducerForm(ABC):
    """A protocol of external producers. Every call raises Refused."""

    is_whole = False
    """Whether a post is published as a whole or not at all."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.key = KEY

    @abstractmethod
    async def start(self, **fields: Any) -> dict[str, Any]:
        """Start an answer, or the next attempt at it. user: alice by default."""

    @abstractmethod
    async def post(self, generation: str, lease: str, parts: Sequence[Any]) -> dict[str, Any]:
        """Post parts and return the last answer. A part may be bytes."""

    @abstractmethod
    async def claim(self, **fields: Any) -> list[dict[str, Any]]: ...

    @abstractmethod
    async def release(self, generation: str, lease: str) -> None: ...

    @abstractmethod
    def control(self, generation: str, lease: str) -> AbstractAsyncContextManager[Signals]:
        """Open the stream of signals, and yield them once it is open."""


class StreamingForm(ProducerForm):
    """A protocol in which a post may go on while parts of it are published."""

    @abstractmethod
    def stream(self, generation: str, lease: str) -> AbstractAsyncContextManager[PartStream]: ...


class PartStream(ABC):
    """A post that goes on."""

    @abstractmethod
    async def send(self, *parts: Any) -> None: ...

    @abstractmethod
    async def finish(self) -> dict[str, Any]:
        """End the post and return the last answer. Raise Refused."""

    @abstractmethod
    async def wait_answer(self) -> dict[str, Any]:
        """Return the last answer of a post that the hub ends."""


class Attempt:
    """An attempt, whose producer sends what a test tells it to."""

    def __init__(self, form: ProducerForm, started: dict[str, Any]) -> None:
        self.form = form
        self.started = started
        self.generation, self.lease = started["generation"], started["lease"]

    async def post(self, *parts: Any) -> dict[str, Any]:
        return await self.form.post(self.generation, self.lease, parts)

    async def refused(self, *parts: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            await self.post(*parts)
        return caught.value

    async def stop(self) -> None:
        await self.form.hub.call("DELETE", f"/generations/{self.generation}?user=alice")

    async def steer(self, words: str) -> None:
        path = f"/generations/{self.generation}/steer?user=alice"
        status, _ = await self.form.hub.call("POST", path, json={"message": words})
        assert status == 202

    async def record(self) -> Any:
        _, record = await self.form.hub.call("GET", f"/generations/{self.generation}?user=alice")
        return record

    async def until_text(self, text: str) -> None:
        """Return when the text of the record is this one."""
        async with asyncio.timeout(60):
            while (await self.record())["text"] != text:
                await asyncio.sleep(0)


def text(seq: int, words: str) -> dict[str, Any]:
    return {"seq": seq, "type": "text", "text": words}


def messages(*texts: str) -> list[dict[str, Any]]:
    """Return what producers get of alice's messages."""
    return [
        {"n": n, "message": {"role": "user", "content": each}, "by": "alice"}
        for n, each in enumerate(texts)
    ]


def end(seq: int, **fields: Any) -> dict[str, Any]:
    return {"seq": seq, "type": "end", **fields}


class ProducerContract:
    """The suite. A subclass has the fixture `form`."""

    @pytest.fixture
    async def hub(self) -> AsyncIterator[Hub]:
        async with running_hub(keys=KEYS) as hub:
            yield hub

    @pytest.fixture
    async def first(self, form: ProducerForm) -> Attempt:
        """The first attempt at an answer for alice, which has the key `k`."""
        return Attempt(form, await form.start(id="k"))

    async def test_answer_from_start_to_end(self, form: ProducerForm) -> None:
        """The record has the parts, what the producer says of the answer, and the usage."""
        attempt = Attempt(
            form, await form.start(model="agent-1", metadata={"order": 7}, chat="c1", prompt="hi")
        )
        assert attempt.started["attempt"] == 1
        assert attempt.started["lease_seconds"] == 30
        assert attempt.started["cursor"]
        answer = await attempt.post(
            {"seq": 0, "type": "status", "text": "Searching"},
            text(1, "Hel"),
            text(2, "lo"),
            {"seq": 3, "type": "tool_result", "id": "c1", "result": [1], "visible": False},
        )
        assert answer == {
            "ack": 3, "stop": None, "inputs": [], "steering": [], "lease_seconds": 30.0,
        }  # fmt: skip
        assert (await attempt.post())["ack"] == 3
        ended = await attempt.post(end(4, finish_reason="length", usage={"prompt_tokens": 3}))
        assert ended["ack"] == 4
        record = await attempt.record()
        assert {name: record[name] for name in ("status", "text", "finish_reason", "usage")} == {
            "status": "done", "text": "Hello", "finish_reason": "length",
            "usage": {"prompt_tokens": 3},
        }  # fmt: skip
        assert (record["model"], record["metadata"]) == ("agent-1", {"order": 7})
        assert record["chat"] == "c1"

    async def test_no_part_is_published_yet(self, first: Attempt) -> None:
        """The acknowledged number is -1 before the first part."""
        assert (await first.post())["ack"] == -1

    async def test_repeated_parts_are_published_once(self, first: Attempt) -> None:
        """A post that is repeated, also its end, is answered as the first one."""
        for _ in range(2):
            assert (await first.post(text(0, "a"), text(1, "b")))["ack"] == 1
        assert (await first.post(text(1, "b"), text(2, "c")))["ack"] == 2
        for _ in range(2):
            assert (await first.post(text(2, "c"), end(3)))["ack"] == 3
        record = await first.record()
        assert (record["text"], record["deltas"], record["status"]) == ("abc", 2, "done")
        problem = await first.refused(text(4, "d"))
        assert problem.code == "ended"
        assert problem.fields["generation"] == first.generation

    async def test_gap(self, first: Attempt) -> None:
        """A missing part is a conflict that names its number."""
        for posted in ([text(1, "b")], [text(0, "a"), text(2, "c")]):
            problem = await first.refused(*posted)
            assert problem.code == "sequence_gap"
            assert problem.fields["expected"] == posted[-1]["seq"] - 1
        assert (await first.record())["text"] == ("" if first.form.is_whole else "a")

    async def test_end_with_the_number_of_a_part(self, first: Attempt) -> None:
        """An end that has the number of a published part is refused; the end after it counts."""
        await first.post(text(0, "a"), text(1, "b"))
        problem = await first.refused(end(1))
        assert (problem.code, problem.fields["expected"]) == ("sequence_gap", 2)
        for _ in range(2):
            assert (await first.post(text(1, "b"), end(2)))["ack"] == 2
        assert (await first.record())["text"] == "ab"

    async def test_new_attempt_voids_the_lease(self, form: ProducerForm, first: Attempt) -> None:
        """The same id begins a new attempt until the answer has ended; the old lease is void."""
        await first.post(text(0, "old"))
        second = Attempt(form, await form.start(id="k"))
        assert (second.generation, second.started["attempt"]) == (first.generation, 2)
        assert (await first.refused(text(1, "late"))).code == "lease_lost"
        await second.post(text(0, "new"), end(1))
        assert (await second.record())["text"] == "new"
        with pytest.raises(Refused) as caught:
            await form.start(id="k")
        assert caught.value.code == "ended"
        assert caught.value.fields["generation"] == first.generation

    async def test_attempt_after_a_checkpoint(self, form: ProducerForm, first: Attempt) -> None:
        """The next attempt gets the value of the checkpoint and the parts before it."""
        await first.post({**text(0, "kept"), "checkpoint": {"page": 1}}, text(1, " lost"))
        second = await form.start(id="k")
        assert second["previous"] == [{"type": "text", "text": "kept"}]
        assert (second["checkpoint"], second["inputs"]) == ({"page": 1}, [])

    async def test_busy_chat(self, form: ProducerForm) -> None:
        """A start that the chat refuses names the answer that runs in it."""
        running = await form.start(chat="c")
        with pytest.raises(Refused) as caught:
            await form.start(chat="c", on_busy="reject")
        assert caught.value.code == "chat_busy"
        assert caught.value.fields["generation"] == running["generation"]

    async def test_stop_ends_the_answer_at_once(self, first: Attempt) -> None:
        """After a stop the answer has ended, and each post says who stopped it."""
        await first.post(text(0, "a"))
        await first.stop()
        record = await first.record()
        assert (record["status"], record["by"], record["deltas"]) == ("stopped", "alice", 1)
        for posted in ([], [text(1, "b")], [text(1, "b"), end(2)]):
            answer = await first.post(*posted)
            assert (answer["stop"], answer["ack"]) == ({"by": "alice"}, 0)
        assert (await first.record())["text"] == "a"

    @pytest.mark.parametrize(
        ("item", "path"),
        [
            ({"type": "text", "text": "a"}, None),
            ({"seq": -1, "type": "text", "text": "a"}, "seq"),
            ({"seq": 1, "type": "finished"}, "type"),
            ({"seq": 1, "type": "text", "text": "a", "visble": False}, "visble"),
            ({"seq": 1, "type": "end", "status": "stopped"}, "status"),
            (b"[]", None),
            (b'{"seq": 1', None),
        ],
    )
    async def test_wrong_part(self, first: Attempt, item: Any, path: str | None) -> None:
        """A wrong part is refused with the field. Of a stream, the parts before it are kept."""
        problem = await first.refused(text(0, "a"), item)
        assert problem.code not in ("internal_error", "sequence_gap")
        if path is not None:
            assert problem.fields["path"].removeprefix("[1].") == path
        assert (await first.record())["text"] == ("" if first.form.is_whole else "a")

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"user": None}, "to"),
            ({"user": "a b"}, "to.user"),
            ({"user": None, "topic": "a,b"}, "to.topic"),
            ({"lease_seconds": 4.9}, "lease_seconds"),
            ({"lease_seconds": 901}, "lease_seconds"),
            ({"on_busy": "enqueue", "chat": "c"}, "on_busy"),
            ({"on_busy": "reject"}, "chat"),
            ({"chat": "c" * 129}, "chat"),
            ({"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "prompt"),
        ],
    )
    async def test_wrong_start(self, form: ProducerForm, fields: dict[str, Any], path: str) -> None:
        """A wrong field of a start is refused with its path."""
        with pytest.raises(Refused) as caught:
            await form.start(**fields)
        assert caught.value.fields["path"] == path

    async def test_keys_and_leases(self, form: ProducerForm, first: Attempt) -> None:
        """Only a key with the scope `produce` may call, and only with the lease of the attempt."""
        for key, code in ((WRONG_KEY, "insufficient_scope"), ("x", "api_key_invalid")):
            form.key = key
            for call in (
                form.start(),
                first.post(),
                form.claim(),
                form.release(first.generation, first.lease),
                self._open_control(first),
            ):
                with pytest.raises(Refused) as caught:
                    await call
                assert caught.value.code == code
        form.key = KEY
        for generation, lease, code in (
            (first.generation, "another", "lease_lost"),
            ("g00" + "0" * 16, first.lease, "generation_not_found"),
        ):
            other = Attempt(form, {"generation": generation, "lease": lease})
            assert (await other.refused()).code == code
            for call in (form.release(generation, lease), self._open_control(other)):
                with pytest.raises(Refused) as caught:
                    await call
                assert caught.value.code == code

    async def test_failure_of_the_producer(self, first: Attempt) -> None:
        """A producer can fail with a code and a message of its own."""
        failure = {"code": "no_stock", "message": "Nothing left", "retryable": True}
        await first.post(text(0, "a"), end(1, status="failed", **failure))
        record = await first.record()
        assert {name: record[name] for name in ("status", *failure)} == {
            "status": "failed",
            **failure,
        }

    async def test_claim_a_question(self, hub: Hub, form: ProducerForm) -> None:
        """A producer claims a user's question with all that it needs, returns it, and answers it
        after the next claim.
        """
        assert await form.claim() == []
        body = {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Refund?"}]}],
            "upstream": "support", "params": {"temperature": 0}, "metadata": {"order": 7},
            "chat": "c",
        }  # fmt: skip
        _, created = await hub.call("POST", "/generations?user=alice", json=body)
        (job,) = await form.claim(max=3, lease_seconds=10, claim_id="c1")
        assert await form.claim(claim_id="c1") == [job]
        lease = job.pop("lease")
        assert job == {
            "generation": created["generation"], "attempt": 1, "lease_seconds": 10.0,
            "user": "alice", "chat": "c", "prompt": "Refund?", "messages": body["messages"],
            "model": "support", "params": {"temperature": 0}, "metadata": {"order": 7},
            "previous": None, "checkpoint": None, "inputs": [], "steering": [],
            "steering_taken": 0,
        }  # fmt: skip
        attempt = Attempt(form, {**job, "lease": lease})
        checkpointed = {**text(0, "kept"), "checkpoint": {"page": 1}}
        assert (await attempt.post(checkpointed, text(1, " lost")))["ack"] == 1
        await form.release(attempt.generation, lease)
        with pytest.raises(Refused) as caught:
            await form.release(attempt.generation, lease)
        assert caught.value.code == "lease_lost"
        (again,) = await form.claim()
        assert (again["attempt"], again["checkpoint"]) == (2, {"page": 1})
        assert again["previous"] == [{"type": "text", "text": "kept"}]
        second = Attempt(form, again)
        await second.post(text(0, "!"), end(1))
        assert (await second.record())["text"] == "kept!"

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"queue": "main"}, "queue"),
            ({"max": 0}, "max"),
            ({"max": 33}, "max"),
            ({"wait_seconds": -1}, "wait_seconds"),
            ({"wait_seconds": 61}, "wait_seconds"),
            ({"lease_seconds": 1}, "lease_seconds"),
            ({"claim_id": "x" * 1000}, "claim_id"),
        ],
    )
    async def test_wrong_claim(self, form: ProducerForm, fields: dict[str, Any], path: str) -> None:
        """A wrong field of a claim is refused with its path."""
        with pytest.raises(Refused) as caught:
            await form.claim(**fields)
        assert caught.value.fields["path"] == path

    async def test_claim_waits_for_a_question(self, hub: Hub, form: ProducerForm) -> None:
        """A claim that waits gets a question as soon as a user asks it."""
        waiting = asyncio.create_task(form.claim(wait_seconds=30))
        await until(lambda: bool(hub.node.claims._waiting.total()))
        ask = {"prompt": "hi", "upstream": "support"}
        _, created = await hub.call("POST", "/generations?user=alice", json=ask)
        (job,) = await waiting
        assert job["generation"] == created["generation"]

    async def test_job_that_nobody_claimed_cannot_be_returned(
        self, form: ProducerForm, first: Attempt
    ) -> None:
        """Only a claimed job can be returned: an answer that its own producer began has none."""
        with pytest.raises(Refused) as caught:
            await form.release(first.generation, first.lease)
        assert caught.value.code == "conflict"

    async def test_returned_job_with_parts(self, hub: Hub, form: ProducerForm) -> None:
        """The next claim begins another attempt: the control stream of the producer before ends,
        and readers learn that the parts before are void.
        """
        ask = {"prompt": "hi", "upstream": "support"}
        _, created = await hub.call("POST", "/generations?user=alice", json=ask)
        generation = created["generation"]
        (first,) = await form.claim(wait_seconds=30)
        await form.post(generation, first["lease"], [text(0, "old")])
        async with form.control(generation, first["lease"]) as signals:
            await form.release(generation, first["lease"])
            (second,) = await form.claim(wait_seconds=30)
            assert [name async for name, _ in signals] == ["lease_lost", "hub.bye"]
        assert (second["generation"], second["attempt"]) == (generation, 2)
        await form.post(generation, second["lease"], [text(0, "new"), end(1)])
        _, record = await hub.call("GET", f"/generations/{generation}?user=alice")
        assert (record["status"], record["text"], record["attempt"]) == ("done", "new", 2)

    @pytest.mark.parametrize("when", ["before", "while"])
    async def test_control_announces_a_stop(
        self, form: ProducerForm, first: Attempt, when: str
    ) -> None:
        """A producer learns at once of a stop, also of one before it has opened the stream."""
        if when == "before":
            await first.stop()
        async with form.control(first.generation, first.lease) as signals:
            if when == "while":
                await first.stop()
            assert await anext(signals) == ("stop", {"by": "alice"})
            assert [name async for name, _ in signals] == ["hub.bye"]

    async def test_control_announces_another_attempt(
        self, form: ProducerForm, first: Attempt
    ) -> None:
        """A producer learns that another attempt has begun; its lease opens no stream after it."""
        async with form.control(first.generation, first.lease) as signals:
            await form.start(id="k")
            assert await anext(signals) == ("lease_lost", {})
        with pytest.raises(Refused) as caught:
            await self._open_control(first)
        assert caught.value.code == "lease_lost"

    @pytest.mark.parametrize("when", ["before", "while"])
    async def test_control_announces_the_end_of_the_lease(
        self, hub: Hub, form: ProducerForm, when: str
    ) -> None:
        """A producer learns that its lease has ended before anybody begins another attempt."""
        ask = {"prompt": "hi", "upstream": "support"}
        await hub.call("POST", "/generations?user=alice", json=ask)
        (job,) = await form.claim(wait_seconds=30)
        ends = hub.backend.generations._lease_ends
        ends[job["generation"]] = time.time() + (0.05 if when == "while" else -1)
        async with form.control(job["generation"], job["lease"]) as signals:
            assert await anext(signals) == ("lease_lost", {})
            assert [name async for name, _ in signals] == ["hub.bye"]
        _, record = await hub.call("GET", f"/generations/{job['generation']}?user=alice")
        assert (record["status"], record["attempt"]) == ("running", 1)

    async def test_messages_in_answers(self, form: ProducerForm, first: Attempt) -> None:
        """Every answer has all messages so far: to new and repeated posts, renewals and the end."""
        assert (await first.post())["steering"] == []
        await first.steer("first")
        for parts in ([text(0, "a")], [text(0, "a")], []):
            assert (await first.post(*parts))["steering"] == messages("first")
        await first.steer("second")
        assert (await first.post(text(1, "b")))["steering"] == messages("first", "second")
        for _ in range(2):
            assert (await first.post(end(2)))["steering"] == messages("first", "second")

    async def test_control_announces_messages(self, form: ProducerForm, first: Attempt) -> None:
        """The stream begins with the messages so far, and each later one follows at once."""
        for words in ("early", "first"):
            await first.steer(words)
        async with form.control(first.generation, first.lease) as signals:
            await first.steer("second")
            for message in messages("early", "first", "second"):
                assert await anext(signals) == ("steering", message)
            await first.stop()
            assert await anext(signals) == ("stop", {"by": "alice"})

    async def test_messages_after_a_checkpoint(self, form: ProducerForm, first: Attempt) -> None:
        """A new attempt has all messages, and how many of them its checkpoint knows."""
        for words in ("first", "second"):
            await first.steer(words)
        again = await form.start(id="k")
        assert (again["steering"], again["steering_taken"]) == (messages("first", "second"), 0)
        second = Attempt(form, again)
        await second.post({**text(0, "kept"), "checkpoint": {"a": 1}, "steering": 1})
        again = await form.start(id="k")
        assert (again["checkpoint"], again["steering_taken"]) == ({"a": 1}, 1)
        assert again["steering"] == messages("first", "second")
        refused = await Attempt(form, again).refused({**text(0, "x"), "steering": -1})
        assert refused.fields["path"].endswith("steering")

    async def test_messages_for_a_question(self, hub: Hub, form: ProducerForm) -> None:
        """What the user has sent before the claim comes with the job."""
        body = {"prompt": "hi", "upstream": "support"}
        _, created = await hub.call("POST", "/generations?user=alice", json=body)
        await Attempt(form, {**created, "lease": ""}).steer("early")
        (job,) = await form.claim()
        assert (job["steering"], job["steering_taken"]) == (messages("early"), 0)

    async def test_input(self, hub: Hub, form: ProducerForm, first: Attempt) -> None:
        """A part asks the user; the value is in every later answer and the control
        stream, and a later attempt that asks again gets it at once.
        """
        request = {
            "seq": 1, "type": "input_request", "input": "refund", "prompt": "Refund?",
            "options": ["approve", "deny"], "approvers": ["boss"],
        }  # fmt: skip
        async with hub.stream("/sse/connect/boss") as boss:
            await first.post(text(0, "a"), request)
            assert json.loads((await boss.next()).data)["input"] == "refund"
        record = await first.record()
        assert record["status"] == "waiting"
        (part,) = [each for each in record["parts"] if each["type"] == "input"]
        assert (part["prompt"], part["state"]) == ("Refund?", "waiting")
        answered = {"n": 0, "input": "refund", "value": "deny", "by": "boss", "expired": False}
        async with form.control(first.generation, first.lease) as signals:
            path = f"/generations/{first.generation}/inputs/refund?user=boss"
            status, _ = await hub.call("POST", path, json={"value": "deny"})
            assert status == 200
            assert await anext(signals) == ("input", answered)
        assert (await first.post(request))["inputs"] == [answered]
        assert (await first.post(text(2, "b")))["inputs"] == [answered]
        assert (await first.record())["status"] == "running"
        again = await form.start(id="k")
        assert again["inputs"] == [answered]
        second = Attempt(form, again)
        result = await second.post({**request, "seq": 0}, end(1))
        assert (result["ack"], result["inputs"]) == (1, [answered])
        record = await second.record()
        (part,) = record["parts"]
        assert (part["state"], part["value"]) == ("received", "deny")

    @pytest.mark.parametrize("end_by", ["same post", "later post", "stop"])
    async def test_end_before_the_input(self, hub: Hub, first: Attempt, end_by: str) -> None:
        """The approvers learn that the value is not wanted any more."""
        request = {
            "seq": 0, "type": "input_request", "input": "refund", "prompt": "Refund?",
            "approvers": ["boss"],
        }  # fmt: skip
        async with hub.stream("/sse/connect/boss") as boss:
            await first.post(request, *([end(1)] if end_by == "same post" else []))
            if end_by == "later post":
                await first.post(end(1))
            elif end_by == "stop":
                await first.stop()
            events = [await boss.next() for _ in range(2)]
        assert [each.name.removeprefix("generation.input_") for each in events] == [
            "requested",
            "expired",
        ]
        assert json.loads(events[1].data)["input"] == "refund"

    async def test_input_without_an_answer(self, hub: Hub, first: Attempt) -> None:
        """The next post after its time tells that it has expired, and readers see it."""
        request = {
            "seq": 0, "type": "input_request", "input": "refund", "prompt": "Refund?",
            "timeout_seconds": 0.001,
        }  # fmt: skip
        await first.post(request)
        hub.node.producers._now = lambda: time.time() + 1
        (expired,) = (await first.post())["inputs"]
        assert (expired["input"], expired["value"], expired["expired"]) == ("refund", None, True)
        (part,) = (await first.record())["parts"]
        assert part["state"] == "expired"

    async def test_suspended_job(self, hub: Hub, form: ProducerForm) -> None:
        """It has no job until the value comes; then it can be claimed, and continues."""
        body = {"prompt": "hi", "upstream": "support"}
        _, created = await hub.call("POST", "/generations?user=alice", json=body)
        (job,) = await form.claim()
        first = Attempt(form, job)
        suspend = {
            "seq": 1, "type": "suspend", "input": "refund", "prompt": "Refund?",
            "state": {"page": 2},
        }  # fmt: skip
        for _ in range(2):
            assert (await first.post(text(0, "kept"), suspend))["ack"] == 1
        assert (await first.record())["status"] == "suspended"
        assert await form.claim() == []
        path = f"/generations/{first.generation}/inputs/refund?user=alice"
        assert (await hub.call("POST", path, json={"value": 7}))[0] == 200
        (again,) = await form.claim()
        assert (again["generation"], again["attempt"]) == (created["generation"], 2)
        assert again["checkpoint"] == {"page": 2}
        assert [each["type"] for each in again["previous"]] == ["text", "input"]
        assert again["inputs"][0]["value"] == 7
        second = Attempt(form, again)
        await second.post(text(0, "!"), end(1))
        record = await second.record()
        assert (record["status"], record["text"]) == ("done", "kept!")

    async def test_suspended_answer_of_a_backend(self, hub: Hub, form: ProducerForm) -> None:
        """The same id continues it; a stop ends it while it waits."""
        first = Attempt(form, await form.start(id="k"))
        suspend = {"seq": 0, "type": "suspend", "input": "refund", "prompt": "?", "state": 1}
        await first.post(suspend)
        path = f"/generations/{first.generation}/inputs/refund?user=alice"
        assert (await hub.call("POST", path, json={"value": True}))[0] == 200
        await hub.node.reconciler.check()
        again = await form.start(id="k")
        assert (again["attempt"], again["checkpoint"]) == (2, 1)
        assert again["inputs"][0]["value"] is True
        second = Attempt(form, again)
        await second.post({**suspend, "input": "other"})
        await second.stop()
        assert (await second.record())["status"] == "stopped"
        assert (await second.post())["stop"] == {"by": "alice"}

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"prompt": ""}, "1 characters"),
            ({"input": "x" * 257}, "1 to 256 characters"),
            ({"input": "."}, "URLs"),
            ({"input": ".."}, "URLs"),
            ({"options": []}, "1 to 100 texts"),
            ({"timeout_seconds": 0}, "above 0"),
            ({"schema": {"type": 7}}, "no JSON Schema"),
            ({"question": "?"}, "question"),
        ],
    )
    async def test_wrong_input(self, first: Attempt, fields: dict[str, Any], words: str) -> None:
        """A request that nobody can answer is refused in one sentence."""
        request = {"seq": 0, "type": "input_request", "input": "refund", "prompt": "Refund?"}
        refused = await first.refused({**request, **fields})
        assert words in refused.fields.get("detail", words)
        assert (await first.record())["parts"] == []

    async def test_control_ends_with_the_answer(self, form: ProducerForm, first: Attempt) -> None:
        """The stream ends without a signal when the producer ends its answer."""
        async with form.control(first.generation, first.lease) as signals:
            await first.post(text(0, "a"), end(1))
            assert [name async for name, _ in signals] == ["hub.bye"]

    async def test_redis_that_is_gone_for_a_while(self, hub: Hub, form: ProducerForm) -> None:
        """A post is refused meanwhile; repeated later, each part is there once."""
        first = Attempt(form, await form.start())
        assert (await first.post(text(0, "a")))["ack"] == 0
        hub.backend.is_unavailable = True
        assert (await first.refused(text(1, "b"), text(2, "c"))).code == "broker_unavailable"
        with pytest.raises(Refused) as caught:
            await form.start()
        assert caught.value.code == "broker_unavailable"
        hub.backend.is_unavailable = False
        for _ in range(2):
            assert (await first.post(text(1, "b"), text(2, "c")))["ack"] == 2
        assert (await first.post(end(3)))["ack"] == 3
        record = await first.record()
        assert (record["status"], record["text"]) == ("done", "abc")

    async def _open_control(self, attempt: Attempt) -> None:
        async with attempt.form.control(attempt.generation, attempt.lease) as signals:
            await anext(signals)


class StreamingContract(ProducerContract):
    """The suite for protocols in which a post may go on."""

    async def test_parts_are_published_as_they_arrive(
        self, form: StreamingForm, first: Attempt
    ) -> None:
        """A part is in the record while the post goes on, and so is its end."""
        async with form.stream(first.generation, first.lease) as stream:
            for n in range(3):
                await stream.send(text(2 * n, f"{n}"), text(2 * n + 1, "-"))
                await first.until_text("0-1-2-"[: 2 * n + 2])
            await stream.send(end(6))
            assert (await stream.finish())["ack"] == 6
        assert (await first.record())["status"] == "done"

    async def test_stop_ends_a_stream(self, form: StreamingForm, first: Attempt) -> None:
        """A stream of parts gets its answer after a stop, while the producer goes on sending."""
        async with form.stream(first.generation, first.lease) as stream:
            await stream.send(text(0, "a"))
            await first.until_text("a")
            await first.stop()
            await stream.send(text(1, "b"))
            answer = await stream.wait_answer()
        assert (answer["ack"], answer["stop"]) == (0, {"by": "alice"})

    async def test_drain_ends_a_stream(self, hub: Hub, form: StreamingForm, first: Attempt) -> None:
        """When the node drains, a stream gets its answer, and the producer goes on elsewhere."""
        async with form.stream(first.generation, first.lease) as stream:
            await stream.send(text(0, "a"))
            await first.until_text("a")
            hub.node.producers.draining.set()
            assert (await stream.wait_answer())["ack"] == 0

    async def test_nothing_follows_the_end(self, first: Attempt) -> None:
        """What comes behind the end in one post is refused, and the end counts."""
        problem = await first.refused(text(0, "a"), end(1), text(2, "b"))
        assert problem.code == "invalid_request"
        assert (await first.record())["status"] == "done"
