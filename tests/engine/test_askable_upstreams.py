"""What functions ask of upstreams with a guard."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from hub.core.generation import Message
from hub.core.generation_context import GenerationContext
from hub.core.parts import Finished, Part, Text, Usage
from hub.core.upstream_models import UpstreamModels
from hub.engine.functions.askable_upstreams import AskableUpstreams
from hub.errors import UpstreamError
from hub.guard import End, Window
from tests.doubles import Gate, ScriptedUpstream
from tests.engine.test_text_guard import PHRASE, GuardTest, mask
from tests.upstreams.kit import REQUEST

CONTEXT = GenerationContext(user="alice", generation="g1", attempt=2, chat="c")


async def read(case: GuardTest, upstream: str, script: ScriptedUpstream) -> list[Part]:
    """Return the parts that a function gets from an upstream; `main` has the guard."""
    models = {name: UpstreamModels("m", ()) for name in ("main", "other")}
    askable = AskableUpstreams(dict.fromkeys(models, script), models, {"main": case.guard})
    request = askable.build_request(
        REQUEST, upstream=upstream, model=None, messages=[Message("user", "q")], params={}
    )
    async with aclosing(askable.stream(request, CONTEXT)) as stream:
        return [part async for parts in stream for part in parts]


async def test_guard_of_the_upstream_checks_what_a_function_gets() -> None:
    """The text is masked, usage and end stay, and the guard knows who asked."""
    script: list[Part] = [
        Text(f"an {PHRASE[:2]}"),
        Text(f"{PHRASE[2:]}!"),
        Usage({"n": 1}),
        Finished("stop"),
    ]
    case = GuardTest(mask, hold_back_characters=len(PHRASE) - 1)
    parts = await read(case, "main", ScriptedUpstream(script))
    assert "".join(part.text for part in parts if isinstance(part, Text)) == "an [*]!"
    assert parts[-1] == Finished("stop")
    assert Usage({"n": 1}) in parts
    window = case.function.windows[0]
    assert (window.user, window.generation, window.attempt) == ("alice", "g1", 2)
    assert case.function.closed == 1


async def test_upstream_without_a_guard() -> None:
    """Another upstream's answer is not checked."""
    case = GuardTest(mask)
    assert await read(case, "other", ScriptedUpstream([Text(PHRASE), Finished("stop")])) == [
        Text(PHRASE),
        Finished("stop"),
    ]
    assert case.function.windows == []


async def test_guard_that_ends_an_answer() -> None:
    """The function gets the code of the verdict as an error, and the upstream is closed."""

    async def end(window: Window) -> End:
        return End("policy", "No.")

    never = Gate()
    never.close()
    script = ScriptedUpstream([Text("a"), never])
    with pytest.raises(UpstreamError) as raised:
        await read(GuardTest(end), "main", script)
    assert (raised.value.code, raised.value.retryable) == ("policy", False)
    assert script.closed == 1
