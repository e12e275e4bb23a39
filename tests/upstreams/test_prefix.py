"""A model continues the text of a lost answer: what went out stays, and nothing is there twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.durable import Checkpoint, Restart, ResumePoint, StreamOutput
from hub.core.generation import GenerationRequest, Message
from hub.core.parts import Finished, Part, Reasoning, Text, Usage
from hub.http.server import ListenAddress, listen
from hub.upstreams.anthropic.dialect import AnthropicMessages
from hub.upstreams.dialect import Dialect
from hub.upstreams.http.prefix import (
    MIN_ECHO_CHARS,
    AnthropicPrefix,
    FinalMessage,
    MarkedPrefix,
    PrefixUpstream,
    Seam,
    _with_points,
)
from hub.upstreams.http.request_rules import RequestRules
from hub.upstreams.openai.chat import OpenAiChat
from hub.upstreams.simulated.answers import choose_answer
from hub.upstreams.simulated.server import SimulatedUpstream
from tests.defaults import simulation
from tests.engine.test_resumable import World
from tests.upstreams.kit import (
    HEAD,
    ReceivedRequest,
    build_upstream,
    open_session,
    scripted_server,
    send_chunks,
)

PROMPT = "a haiku"
ANSWER = choose_answer(PROMPT)
REQUEST = GenerationRequest([Message("user", PROMPT)], upstream="u", model="m")
FORMS: list[Any] = [
    pytest.param(AnthropicMessages({}), AnthropicPrefix, id="anthropic"),
    pytest.param(OpenAiChat({}), MarkedPrefix, id="prefix"),
    pytest.param(OpenAiChat({}), FinalMessage, id="final_message"),
]


@asynccontextmanager
async def simulated(
    dialect: Dialect, form: Any, *, models: Sequence[str] = (), **options: Any
) -> AsyncIterator[tuple[PrefixUpstream, SimulatedUpstream]]:
    quick = simulation(tokens_per_second=5000.0, first_token_seconds=0.0, **options)
    server = SimulatedUpstream(quick)
    address = ListenAddress("127.0.0.1", 0, "x")
    async with (
        listen(server.app(), address, cancel_handlers=True, shutdown_timeout_seconds=0.1) as port,
        open_session() as session,
    ):
        http = build_upstream(session, f"http://127.0.0.1:{port}/v1", dialect)
        yield PrefixUpstream(http, dialect.build_request, form(), models=models), server


async def read(
    upstream: PrefixUpstream,
    checkpoint: Checkpoint | None = None,
    request: GenerationRequest = REQUEST,
) -> list[StreamOutput]:
    async with aclosing(upstream.resumable_stream(request, None, checkpoint)) as stream:
        return [each async for output in stream for each in output]


def checkpoint_of(*parts: dict[str, Any]) -> Checkpoint:
    return Checkpoint(value=b'"prefix"', folded=parts)


def at(text: str) -> Checkpoint:
    return checkpoint_of({"type": "text", "text": text})


def text_of(output: Sequence[StreamOutput]) -> str:
    return "".join(part.text for part in output if isinstance(part, Text))


@pytest.mark.parametrize(("dialect", "form"), FORMS)
async def test_every_beginning_is_continued(dialect: Dialect, form: Any) -> None:
    """Also one that ends in white space, which Anthropic refuses."""
    async with simulated(dialect, form) as (upstream, server):
        for length in range(MIN_ECHO_CHARS, len(ANSWER) + 1, 3):
            output = await read(upstream, at(ANSWER[:length]))
            assert ANSWER[:length] + text_of(output) == ANSWER
            assert isinstance(output[-1], Finished)
            assert Restart() not in output
        assert server._continued == server._started


@pytest.mark.parametrize(("dialect", "form"), FORMS)
async def test_lost_worker(dialect: Dialect, form: Any) -> None:
    """Readers keep the text, and the upstream is asked for the rest."""
    async with simulated(dialect, form) as (upstream, server):
        world = World(upstream, [(4, 0), (2, 1)])
        world.request = msgspec.structs.replace(REQUEST, upstream="main")
        await world.run()
    record, events = await world.record(), await world.events()
    names = [name for name, _ in events if name not in ("generation.delta", "generation.done")]
    assert record.text == ANSWER
    assert names[0] == "generation.started"
    assert set(names[1:]) <= {"generation.continued", "generation.restarted"}
    assert record.end["usage"]
    assert server._started == record.attempt


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [{"type": "text", "text": " \n"}],
        [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": ANSWER[:40]}],
        [{"type": "text", "text": ANSWER[:40]}, {"type": "tool_call", "index": 0, "id": "c"}],
    ],
)
@pytest.mark.parametrize(("dialect", "form"), FORMS)
async def test_only_text_is_continued(
    dialect: Dialect, form: Any, parts: list[dict[str, Any]]
) -> None:
    """Anything else begins anew."""
    async with simulated(dialect, form) as (upstream, server):
        output = await read(upstream, checkpoint_of(*parts))
    assert output[0] == Restart()
    assert text_of(output) == ANSWER
    assert server._continued == 0


@pytest.mark.parametrize(("dialect", "form"), FORMS)
async def test_model_that_refuses_begins_anew(dialect: Dialect, form: Any) -> None:
    """The settings may be wrong about a model; the answer is complete nevertheless."""
    async with simulated(dialect, form, fault="no-prefill") as (upstream, server):
        output = await read(upstream, at(ANSWER[:40]))
    assert output[0] == Restart()
    assert text_of(output) == ANSWER
    assert server._started == 1


async def test_models_and_formats_that_cannot_be_continued() -> None:
    """Their answers have no points: they begin anew, as those of other upstreams."""
    others = msgspec.structs.replace(REQUEST, model="other")
    schema = {"response_format": {"type": "json_schema", "json_schema": {}}}
    shaped = msgspec.structs.replace(REQUEST, params=schema)
    text = msgspec.structs.replace(REQUEST, params={"response_format": {"type": "text"}})
    async with simulated(OpenAiChat({}), FinalMessage, models=["m"]) as (upstream, _):
        for request, has_points in (
            (REQUEST, True),
            (text, True),
            (others, False),
            (shaped, False),
        ):
            output = await read(upstream, request=request)
            assert any(isinstance(each, ResumePoint) for each in output) is has_points
            assert text_of(output) == ANSWER
            output = await read(upstream, at(ANSWER[:40]), request=request)
            assert (output[0] == Restart()) is not has_points


async def test_short_text_is_not_sent_where_it_may_come_back() -> None:
    """It cannot be told from a text that continues with the same characters."""
    async with simulated(OpenAiChat({}), MarkedPrefix) as (upstream, _):
        assert (await read(upstream, at(ANSWER[: MIN_ECHO_CHARS - 1])))[0] == Restart()


def chunk_event(text: str) -> bytes:
    body = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("has_echo", [True, False])
async def test_text_that_comes_again_is_left_out(size: int, has_echo: bool) -> None:
    """Mistral sends the text again, DeepSeek does not."""
    sent = ANSWER if has_echo else ANSWER[40:]
    chunks = [chunk_event(sent[n : n + size]) for n in range(0, len(sent), size)]
    received = ReceivedRequest()
    async with (
        scripted_server(send_chunks(HEAD + b"".join(chunks) + END), received) as url,
        open_session() as session,
    ):
        dialect = OpenAiChat({})
        rules = RequestRules(roles={"assistant": "model"})
        http = build_upstream(session, url, dialect, rules=rules)
        upstream = PrefixUpstream(http, dialect.build_request, MarkedPrefix(), models=())
        output = await read(upstream, at(ANSWER[:40]))
    assert ANSWER[:40] + text_of(output) == ANSWER
    last = received.body["messages"][-1]
    assert last == {"role": "model", "content": ANSWER[:40], "prefix": True}


@given(st.text(alphabet="ab \n", max_size=12), st.integers(0, 12), st.integers(1, 4))
def test_seam_after_white_space(text: str, cut: int, size: int) -> None:
    """A model that has not seen the white space writes it again, or not; it is there once."""
    seen = text[:cut].rstrip()
    for rest in (text[len(seen) :], text[cut:].lstrip()):
        seam = Seam(space=text[:cut][len(seen) :])
        chunks = [rest[n : n + size] for n in range(0, len(rest), size)]
        joined = text[:cut] + "".join(map(seam.feed, chunks))
        assert joined.replace(" ", "").replace("\n", "") == text.replace(" ", "").replace("\n", "")
        if rest == text[len(seen) :]:
            assert joined == text


@given(st.text(alphabet="ab", min_size=1, max_size=6), st.text(alphabet="ab", max_size=6))
def test_seam_of_a_repeated_text(text: str, rest: str) -> None:
    """The text is left out once, whatever chunks it comes in; what is no repetition stays."""
    for size in (1, 2, 3):
        seam = Seam(echo=text)
        sent = text + rest
        chunks = [sent[n : n + size] for n in range(0, len(sent), size)]
        assert "".join(map(seam.feed, chunks)) + seam.end() == rest
        other = "c" + rest
        seam = Seam(echo=text)
        chunks = [other[n : n + size] for n in range(0, len(other), size)]
        assert "".join(map(seam.feed, chunks)) + seam.end() == other


async def test_points_end_with_the_first_other_part() -> None:
    """The point before it is discarded in the same step."""

    async def answer() -> Any:
        batches: list[list[Part]] = [
            [Usage({"prompt_tokens": 1})],
            [Text("a")],
            [Text("b"), Reasoning("h")],
            [Text("c")],
            [Finished("stop")],
        ]
        for batch in batches:
            yield batch

    output = [batch async for batch in _with_points(answer())]
    points = [[each.value for each in batch if isinstance(each, ResumePoint)] for batch in output]
    assert points == [[], ["prefix"], [None], [], []]
