"""What an app accepts as a function and as its options, and how targets are loaded."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub.producer import App, Failed, Run
from hub.producer.answer import AnswerSource, AskRequest
from hub.producer.inputs import InputValue
from hub.producer.loading import CannotLoad, load_app, load_producer
from hub.producer.output import OutputBuffer
from hub.producer.run import Notification, RunContext


class NoServices:
    """Implements run.RunServices for runs that ask nothing of their worker."""

    async def publish(self, notification: Notification) -> None:
        raise NotImplementedError

    def open_answer(self, request: AskRequest) -> AnswerSource:
        raise NotImplementedError

    def open_input(self, key: str) -> asyncio.Future[InputValue]:
        raise NotImplementedError

    def close_input(self, key: str) -> None:
        raise NotImplementedError


SOURCE = """
from hub.producer import App
app = App()

@app.producer(retries=2)
async def first(run): yield "1"

@app.producer()
def second(run): return "2"

def plain(run): return "3"
number = 5
class Group:
    inner = plain
"""


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a module with functions; return its name."""
    name = f"answers_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(SOURCE)
    (tmp_path / f"{name}_broken.py").write_text("import no_such_library_here")
    (tmp_path / f"{name}_exits.py").write_text("raise SystemExit('bye')")
    (tmp_path / f"{name}_syntax.py").write_text("def f(:")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return name


def test_targets_are_loaded(answers: str) -> None:
    """A target is an app, a declared function with its options, or any other function."""
    assert list(load_app(f"{answers}:app").producers) == ["first", "second"]
    assert list(load_app(f"{answers}:plain").producers) == ["plain"]
    assert load_producer("x", f"{answers}:first").retries == 2
    assert load_producer("second", f"{answers}:app").name == "second"
    assert load_producer("x", f"{answers}:Group.inner").retries == 0


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("no_such_module:app", "there is no module no_such_module"),
        ("{}.sub:app", "there is no module"),
        ("{}:nothing", "has no nothing"),
        ("{}:number", "neither an App nor a function"),
        ("{}:Group", "neither an App nor a function"),
        ("{}:app", "has no function named 'third'; it has: first, second"),
        ("{}_broken:app", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_libra"),
        ("{}_exits:app", "cannot be loaded: SystemExit: bye"),
        ("{}_syntax:app", "cannot be loaded: SyntaxError"),
    ],
)
def test_target_that_cannot_be_loaded(answers: str, target: str, expected: str) -> None:
    """The error is one sentence that names the target and the reason."""
    with pytest.raises(CannotLoad) as caught:
        load_producer("third", target.format(answers))
    assert expected in str(caught.value)
    assert not [name for name in sys.modules if name.startswith(f"{answers}_")]


def declare(function: Any) -> None:
    App().producer()(function)


async def good(run: Run) -> str:
    return "x"


def test_functions_that_are_accepted() -> None:
    """More parameters need defaults; an object that can be called is a function."""

    class Answer:
        async def __call__(self, run: Run) -> str:
            return "x"

    async def more(run: Run, tools: tuple[str, ...] = ()) -> str:
        return "x"

    app = App()
    for function in (good, more, Answer()):
        assert app.producer()(function) is function
    assert list(app.producers) == ["good", "more", "Answer"]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (lambda: declare(lambda: "x"), "letters"),
        (lambda: declare(App), "is no function"),
        (lambda: declare("answers"), "is no function"),
        (lambda: App().producer(good), "with parentheses"),  # type: ignore[arg-type]
        (lambda: App().producer(retries=-1), "retries must be"),
        (lambda: App().producer(retries=True), "retries must be"),
        (lambda: App().producer(max_running=0), "max_running must be"),
        (lambda: App().producer(timeout_seconds=0), "timeout_seconds must be"),
        (lambda: App().producer(timeout_seconds=float("nan")), "timeout_seconds must be"),
        (lambda: App(lifespan=5), "lifespan must be"),  # type: ignore[arg-type]
        (lambda: Failed("No such code!", "x"), "the code of Failed"),
    ],
)
def test_declaration_that_is_wrong(wrong: Callable[[], Any], expected: str) -> None:
    """The error names what is wrong."""
    with pytest.raises((TypeError, ValueError), match=expected):
        wrong()


def test_two_functions_of_one_name() -> None:
    """An app cannot have two functions of one name, which is the name of an upstream."""
    app = App()
    app.producer()(good)
    with pytest.raises(ValueError, match="two functions named 'good'"):
        app.producer()(good)


def test_function_without_the_parameter() -> None:
    """A function must have the parameter run."""

    def none() -> str:
        return "x"

    def two(run: Run, more: int) -> str:
        return "x"

    for function in (none, two):
        with pytest.raises(TypeError, match="must have one parameter: run"):
            declare(function)


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([], ""),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "a"),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "b"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}], "a"),
        ([{"role": "user", "content": None}], ""),
    ],
)
async def test_prompt(messages: list[dict[str, Any]], prompt: str) -> None:
    """The prompt is the text of the last message of the user."""
    context = RunContext(
        user="alice", generation="g", attempt=1, chat=None, messages=messages, model="m",
        params={}, metadata={},
    )  # fmt: skip
    assert Run(context, None, None, NoServices(), OutputBuffer(1, print)).prompt == prompt
