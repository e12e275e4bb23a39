"""Guards in child processes, at HTTP endpoints and in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from hub.core.verdicts import Pass, Replace, Verdict
from hub.engine.functions.askable_upstreams import AskableUpstreams
from hub.errors import GuardFailed
from hub.guard import Window
from hub.producer.loading import CannotLoad, load_guard
from hub.producer.run import Notification
from hub.testing.contracts.guards import CONTEXT, GuardContract, OpenGuard, obey_or_wait, window
from hub.testing.guards import InProcessGuard
from hub.upstreams.functions.guard import FunctionGuard
from hub.upstreams.functions.pool import FunctionPool
from hub.upstreams.functions.process import FunctionProcess, ProcessOptions
from hub.upstreams.http.guard import HttpGuard
from tests.doubles import until

APP = "tests.upstreams.guard_app"


@asynccontextmanager
async def function_guards(*functions: str, **options: Any) -> AsyncIterator[FunctionPool]:
    """Run functions of guard_app.py, each as the guard of an upstream with its name."""

    async def publish(user: str, notification: Notification) -> None:
        raise AssertionError

    limits: dict[str, Any] = {
        "max_part_bytes": 100_000,
        "stop_timeout_seconds": 5.0,
        "block_warning_seconds": 5.0,
        "block_limit_seconds": 30.0,
        **options,
    }
    targets = {name: f"{APP}:{name}" for name in functions}
    chosen = ProcessOptions(targets={}, guards=targets, **limits)
    askable = AskableUpstreams({}, {})
    async with FunctionPool(lambda: FunctionProcess(chosen, publish, askable), 1) as pool:
        yield pool


class TestInProcessGuard(GuardContract):
    """The guard in memory."""

    @pytest.fixture
    def open_guard(self) -> OpenGuard:
        async def open_guard() -> InProcessGuard:
            return InProcessGuard(obey_or_wait)

        return open_guard


class TestFunctionGuard(GuardContract):
    """A function in a child process."""

    @pytest.fixture
    async def open_guard(self) -> AsyncIterator[OpenGuard]:
        async with function_guards("obey_or_wait") as pool:

            async def open_guard() -> FunctionGuard:
                return FunctionGuard("obey_or_wait", pool)

            yield open_guard


class TestHttpGuard(GuardContract):
    """An HTTP endpoint."""

    @pytest.fixture
    async def open_guard(self) -> AsyncIterator[OpenGuard]:
        async def handle(request: web.Request) -> web.Response:
            seen = msgspec.json.decode(await request.read(), type=Window)
            verdict = await obey_or_wait(seen)
            return web.Response(body=b"" if verdict is None else msgspec.json.encode(verdict))

        async with endpoint(handle) as (url, session):

            async def open_guard() -> HttpGuard:
                return HttpGuard(session, url)

            yield open_guard


@asynccontextmanager
async def endpoint(
    handle: Callable[[web.Request], Any],
) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    """Run a server whose route is the handler; yield its URL and a client session."""
    app = web.Application()
    app.router.add_post("/check", handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield str(server.make_url("/check")), session


FAILURES = {
    "text": "the guard returned a value of the type str",
    "wrong": "text of Replace must be a text",
    "surrogate": "surrogates not allowed",
    "surrogate error": r"ValueError: lone \\ud800",
    "code": "the code of End must have 1 to 64 characters",
    "stop": "StopIteration",
    "exit": "SystemExit",
    "crash": "the process of the guard was lost",
}


async def test_function_that_fails() -> None:
    """The reason is in the error, for the log; later checks are answered, also by a new process.

    The function is synchronous.
    """
    async with function_guards("odd") as pool:
        session = FunctionGuard("odd", pool).open(CONTEXT)
        for text, reason in FAILURES.items():
            with pytest.raises(GuardFailed, match=reason) as caught:
                await session.check(window(text))
            assert bool(caught.value.traceback) is (text != "crash")
            assert await session.check(window("pass")) == Pass()
        assert await session.check(window("pass", "some text ")) == Pass()
        first = await session.check(window("pid", "some text "))
        (process,) = pool._processes
        process._kill()
        second = await session.check(window("pid", "some text "))
        assert isinstance(first, Replace)
        assert isinstance(second, Replace)
        assert first != second


async def test_window_that_cannot_be_sent() -> None:
    """A window with a lone surrogate fails its own check; the next window has the whole text."""
    async with function_guards("odd", "obey") as pool:
        guard = FunctionGuard("odd", pool)
        first, second = guard.open(CONTEXT), guard.open(CONTEXT)
        with structlog.testing.capture_logs() as logs:
            failed, passed = await asyncio.gather(
                first.check(window("\ud800")), second.check(window("pass")), return_exceptions=True
            )
        assert isinstance(failed, GuardFailed)
        assert "JSON cannot express the message Check" in str(failed)
        assert passed == Pass()
        assert [each["event"] for each in logs] == ["producer.message_not_sent"]
        after = msgspec.structs.replace(window("code"), number=1, unchanged=1)
        with pytest.raises(GuardFailed, match="the code of End"):
            await first.check(after)

        lone = msgspec.structs.replace(CONTEXT, user="\ud800")
        session = guard.open(lone)
        for _ in range(2):
            with pytest.raises(GuardFailed, match="the message StartGuard"):
                await session.check(window("pass"))
        session.close()
        assert await second.check(window("pass")) == Pass()
        (process,) = pool._processes
        assert not process._cancelled


async def test_function_that_does_not_end() -> None:
    """A thread that never ends costs its process no other answer, and the process is replaced."""
    async with function_guards("blocks", "odd", stop_timeout_seconds=0.05) as pool:
        session = FunctionGuard("blocks", pool).open(CONTEXT)
        check = asyncio.ensure_future(session.check(window("x")))
        other = FunctionGuard("odd", pool).open(CONTEXT)
        first = await other.check(window("pid"))
        check.cancel()
        session.close()
        (process,) = pool._processes
        await until(lambda: process.is_unready)
        other.close()
        another = FunctionGuard("odd", pool).open(CONTEXT)
        assert await another.check(window("pid")) != first


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("missing", "has no missing"),
        ("not_callable", "is no function that checks answers"),
        ("without_parameter", "must have one parameter: window"),
    ],
)
def test_function_that_cannot_be_loaded(function: str, reason: str) -> None:
    """The error says why."""
    with pytest.raises(CannotLoad, match=reason):
        load_guard(f"{APP}:{function}")


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b"", "the status 500"),
        (302, b"", "the status 302"),
        (401, b"", "the status 401"),
        (200, b"ok", "no verdict"),
        (200, b"null", "no verdict"),
        (200, b'{"verdict":"maybe"}', "no verdict"),
        (200, b'{"verdict":"replace"}', "no verdict"),
        (200, b'{"verdict":"pass","text":"x"}', "no verdict"),
        (200, b'{"verdict":"end","code":"No Code","message":"x"}', "no verdict"),
        (200, b"\xff", "no verdict"),
        (200, b" " * (4 * 1024 * 1024 + 1), "larger than"),
    ],
)
async def test_endpoint_that_fails(status: int, body: bytes, reason: str) -> None:
    """Whatever is no verdict fails the check."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Location": "/check"})

    async with endpoint(handle) as (url, session):
        with pytest.raises(GuardFailed, match=reason):
            await HttpGuard(session, url).open(CONTEXT).check(window("x"))


@pytest.mark.parametrize("failure", ["cut", "502", "503"])
async def test_endpoint_that_restarts(failure: str) -> None:
    """A check is repeated once if the connection or a proxy fails, with the same headers."""
    keys: list[str | None] = []

    async def handle(request: web.Request) -> web.Response:
        keys.append(request.headers.get("Authorization"))
        if len(keys) > 1:
            return web.Response(status=204)
        if failure == "cut":
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=int(failure) if failure.isdigit() else 200)

    async with endpoint(handle) as (url, session):
        guard = HttpGuard(session, url, {"Authorization": "Bearer k"})
        verdict: Verdict = await guard.open(CONTEXT).check(window("x"))
        assert verdict == Pass()
        assert keys == ["Bearer k"] * 2


async def test_endpoint_that_is_away() -> None:
    """Without a server the check fails."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(GuardFailed, match="cannot be asked"):
            await HttpGuard(session, "http://127.0.0.1:1/check").open(CONTEXT).check(window("x"))
