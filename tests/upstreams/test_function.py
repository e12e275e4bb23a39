"""Functions in child processes: their answers, and what happens when they break."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import structlog

from hub.core.durable import DurableState
from hub.core.generation import Generation, GenerationRequest, Message
from hub.core.parts import Data, Finished, Part, Source, Status, Text
from hub.core.upstream_models import UpstreamModels
from hub.engine.functions.askable_upstreams import AskableUpstreams
from hub.engine.functions.function import ApplicationFunction
from hub.engine.functions.pending_inputs import PendingInputs
from hub.engine.tasks import run_unless
from hub.errors import BadRequest, OperatorError, ProducerLost, UpstreamError
from hub.ports.upstreams import Upstream
from hub.producer.child import ChildConfig
from hub.producer.inputs import InputValue
from hub.producer.protocol import Start
from hub.producer.run import Notification, RunContext
from hub.testing.backend import MemoryBackend
from hub.upstreams.functions import pool
from hub.upstreams.functions.pool import FunctionPool
from hub.upstreams.functions.process import FunctionProcess, ProcessOptions
from tests.doubles import until
from tests.producer.function_worker import FunctionWorkers
from tests.upstreams import function_app

APP = "tests.upstreams.function_app:app"
NAMES = list(function_app.app.producers)
# The loop of asyncio reads what a process sends, and notices its end, in its own way.
on_both_loops = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class Functions:
    """The functions of function_app.py, and what they publish."""

    def __init__(self, pool: FunctionPool, published: list[tuple[str, Notification]]) -> None:
        self.pool = pool
        backend = MemoryBackend()
        self.pending_inputs = PendingInputs(backend.events, backend.generations, check_seconds=1.0)
        self.published = published

    def function(self, name: str, **options: Any) -> ApplicationFunction:
        return ApplicationFunction(name, self.pool, self.pending_inputs, **options)

    def stream(
        self,
        name: str,
        *,
        metadata: dict[str, Any] | None = None,
        params: dict[str, Any] | None = None,
        state: DurableState | None = None,
        **options: Any,
    ) -> Any:
        request = GenerationRequest(
            [Message("user", "hi")],
            upstream=name,
            model="m",
            params=params or {"a": 1},
            metadata=metadata or {},
            chat="c",
        )
        record = Generation("g1", "alice", request)
        return aclosing(self.function(name, **options).stream(record, 3, state or DurableState()))

    async def ask(self, name: str, **options: Any) -> list[Part]:
        parts: list[Part] = []
        async with asyncio.timeout(60), self.stream(name, **options) as stream:
            async for some in stream:
                parts += some
        return parts

    async def failure(self, name: str, **options: Any) -> UpstreamError:
        with pytest.raises(UpstreamError) as caught:
            await self.ask(name, **options)
        return caught.value


@asynccontextmanager
async def functions(
    names: Sequence[str] = NAMES,
    *,
    processes: int = 1,
    one_run_each: bool = False,
    target: str = APP,
    upstreams: Mapping[str, Upstream] | None = None,
    **options: Any,
) -> AsyncIterator[Functions]:
    """Run the functions of these names in processes.

    upstreams: those that they can ask. options: those of ProcessOptions.
    """
    published: list[tuple[str, Notification]] = []

    async def publish(user: str, notification: Notification) -> None:
        if not notification.event:
            raise BadRequest("event must not be empty", path="event")
        published.append((user, notification))

    limits: dict[str, Any] = {
        "max_part_bytes": 100_000,
        "stop_timeout_seconds": 5.0,
        "block_warning_seconds": 5.0,
        "block_limit_seconds": 30.0,
        **options,
    }
    chosen = ProcessOptions(targets=dict.fromkeys(names, target), **limits)
    upstreams = {} if upstreams is None else upstreams
    models = {name: UpstreamModels(f"{name}-model", ()) for name in upstreams}
    models["llm"] = UpstreamModels("llm-model", ["llm-model"])
    models |= {name: UpstreamModels(name, (), "function") for name in names}
    askable = AskableUpstreams(upstreams, models)
    async with FunctionPool(
        lambda: FunctionProcess(chosen, publish, askable), processes, one_run_each=one_run_each
    ) as pool:
        yield Functions(pool, published)


@pytest.fixture(autouse=True)
def function_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the lifespan of the app writes at its end."""
    monkeypatch.setenv("FUNCTION_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def has_left_lifespan(function_log: Path) -> bool:
    return function_log.read_text() == "left"


def texts(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


async def test_killed_process_continues(tmp_path: Path) -> None:
    """After SIGKILL, the next process calls no step again that was stored."""
    async with functions(["durable"]) as case:
        for moment, begin in (("step", 2), ("checkpoint", 1), ("end", 1)):
            workers, log = FunctionWorkers(MemoryBackend()), tmp_path / moment
            function = case.function("durable")
            await workers.run(function, killed_at=moment, log=str(log))
            record = await workers.record()
            assert (record.status.value, record.text) == ("done", f"result saved {begin}")
            assert log.read_text() == "called called "
            names = [name.removeprefix("generation.") for name, _ in await workers.events()]
            begins = [name for name in names if name in ("started", "restarted", "continued")]
            assert begins == ["started", "restarted" if moment == "step" else "continued"]
            assert names.count("done") == 1


async def test_answers(function_log: Path) -> None:
    """One process runs all functions: their parts, failures, notifications and limits."""
    with structlog.testing.capture_logs() as logs:
        async with functions() as case:
            assert await case.ask("support") == [
                Status("Searching"),
                Source("https://example.com", title="Example"),
                Text("hi alice c 3 1"),
                Data("params", {"a": 1}),
                Finished("stop"),
            ]
            ((user, note),) = case.published
            assert (user, note.event, bytes(note.data)) == ("alice", "note", b'{"n":1}')
            assert texts(await case.ask("refused")) == "event must not be empty"
            first = texts(await case.ask("pid"))
            assert first == texts(await case.ask("pid")) != str(os.getpid())

            declared = case.function("support")
            assert (declared.retries, declared.timeout_seconds) == (2, 30)
            override = case.function("support", retries=0, timeout_seconds=1.5)
            assert (override.retries, override.timeout_seconds) == (0, 1.5)

            error = await case.failure("fails")
            assert (error.code, error.message) == (
                "producer_error",
                "the application failed to answer",
            )
            shown = await case.failure("fails", shows_errors=True)
            assert shown.message == "ValueError: a secret of the application"
            exited = await case.failure("exits", shows_errors=True)
            assert exited.message == "SystemExit: 1"
            failed = await case.failure("fails_for_the_client")
            assert (failed.code, failed.message) == ("no_credit", "There is no credit left.")
            slow = await case.failure("too_slow")
            assert (slow.code, slow.retryable) == ("producer_timeout", False)
            assert texts(await case.ask("pid")) == first, "a failure costs only its own answer"
    assert has_left_lifespan(function_log)
    reasons = [log["reason"] for log in logs if log["event"] == "producer.failed"]
    assert reasons[0] == "ValueError: a secret of the application"


@pytest.mark.parametrize(
    ("where", "code", "log"),
    [
        ("raise", "producer_error", r"ValueError: lone \ud800"),
        ("for the client", "no_credit", None),
        ("start", "producer_error", "the message Start"),
    ],
)
async def test_message_that_cannot_be_sent(where: str, code: str, log: str | None) -> None:
    """A run whose message has no Unicode fails, and what is sent at the same moment arrives."""
    async with functions() as case:
        params = {"a": "\ud800" if where == "start" else where}
        with structlog.testing.capture_logs() as logs:
            failed, others = await asyncio.gather(
                case.failure("fails_without_unicode", params=params),
                asyncio.gather(*(case.ask("pid") for _ in range(5))),
            )
        assert failed.code == code
        reasons = [str(each.get("reason")) for each in logs if each["event"] == "producer.failed"]
        assert [log in each for each in reasons if log] == [True] * bool(log), reasons
        assert len({texts(each) for each in others}) == 1
        (process,) = case.pool._processes
        assert not len(process)
        assert not process._cancelled


async def test_input_that_cannot_be_sent() -> None:
    """A run that cannot get what it waits for fails, and its function is cancelled."""
    async with functions() as case, case.stream("waits") as stream:
        (text,) = await anext(stream)
        (process,) = case.pool._processes
        (run,) = process._runs.values()
        with structlog.testing.capture_logs() as logs:
            run.send_input("approve", InputValue(cast(Any, "\ud800")))
            with pytest.raises(UpstreamError, match="the application failed"):
                await anext(stream)
        assert [each["event"] for each in logs] == ["producer.message_not_sent", "producer.failed"]
        await until(lambda: not process._cancelled)
        assert texts(await case.ask("pid")) == text.text


async def test_stop_of_functions_that_go_on() -> None:
    """Closing a stream does not wait. A process whose function ignores it gets no more runs."""
    async with functions(stop_timeout_seconds=0.05) as case:
        async with case.stream("endless") as stream:
            size = sum([len(texts(await anext(stream))) for _ in range(5)])
        assert 0 < size <= 5 * (64 * 1024 + 100), "the function waited while nobody read"
        async with case.stream("blocks_its_thread") as stream:
            assert texts(await anext(stream)) == "a"
        async with case.stream("ignores_stop") as stream:
            first = texts(await anext(stream))
        while texts(await case.ask("pid")) == first:
            await asyncio.sleep(0.01)


@on_both_loops
async def test_lost_process() -> None:
    """A process that crashes or is killed loses its runs, and another one takes the next ones."""
    async with functions() as case:
        with pytest.raises(ProducerLost):
            await case.ask("crashes")
        async with case.stream("waits") as stream:
            pid = int(texts(await anext(stream)))
            os.kill(pid, 9)
            with pytest.raises(ProducerLost):
                await anext(stream)
        assert texts(await case.ask("pid")) != str(pid)


async def test_blocked_process() -> None:
    """The log names a process whose loop is blocked, with its stack; later it is killed."""
    with structlog.testing.capture_logs() as logs:
        async with functions(block_warning_seconds=1.0, block_limit_seconds=3.0) as case:
            assert texts(await case.ask("blocks_its_thread")) == "ab"
            assert not [log for log in logs if log["event"] == "producer.blocked"]
            with pytest.raises(ProducerLost):
                await case.ask("blocks")
    blocked = next(log for log in logs if log["event"] == "producer.blocked")
    assert "time.sleep(60)" in blocked["stack"]
    assert any(log["event"] == "producer.block_limit" for log in logs)


@on_both_loops
async def test_process_of_its_own(function_log: Path) -> None:
    """Each run has a process that no other run has; a crash or a block costs only its own run."""
    async with (
        functions(["waits", "pid", "crashes"], one_run_each=True) as case,
        case.stream("waits") as first,
        case.stream("waits") as second,
    ):
        pids = {texts(await anext(first)), texts(await anext(second))}
        with pytest.raises(ProducerLost):
            await case.ask("crashes")
        pids.add(texts(await case.ask("pid")))
        pids.add(texts(await case.ask("pid")))
        assert len(pids) == 4
    assert has_left_lifespan(function_log)


async def test_reload_and_several_processes() -> None:
    """New runs go to the process with the fewest; a reload lets running answers end."""
    async with (
        functions(processes=2) as case,
        case.stream("waits") as first,
        case.stream("waits") as second,
    ):
        pids = {texts(await anext(first)), texts(await anext(second))}
        assert len(pids) == 2
        case.pool.reload()
        assert texts(await case.ask("pid")) not in pids
        for pid in pids:
            os.kill(int(pid), 0)  # they still run


HANGING = """
import asyncio
from contextlib import asynccontextmanager
from hub.producer import App
@asynccontextmanager
async def lifespan(app):
    open("entered", "w").close()
    try:
        await asyncio.Event().wait()
        yield
    finally:
        await asyncio.sleep(0.2)
        open("left", "w").close()
app = App(lifespan=lifespan)
@app.producer()
def hangs_while_it_loads(run):
    return "never"
"""


@pytest.mark.parametrize("hangs", ["import threading; threading.Event().wait()", HANGING])
async def test_reload_of_code_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    """Code whose import or lifespan does not end is named in the log, and a reload repairs it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pool, "_SLOW_START_SECONDS", 0.01)
    repaired = "async def answer(run):\n    return 'repaired'\n"
    file = tmp_path / "reloaded_app.py"
    file.write_text(repaired)
    async with functions(["x"], target="reloaded_app:answer", stop_timeout_seconds=0.1) as case:
        with structlog.testing.capture_logs() as logs:
            file.write_text(hangs)
            case.pool.reload()
            async with asyncio.timeout(60):
                while not any(log["event"] == "producer.load_slow" for log in logs):
                    await asyncio.sleep(0.01)
        file.write_text(repaired)
        case.pool.reload()
        async with asyncio.timeout(60):
            assert texts(await case.ask("x")) == "repaired"


async def test_worker_that_ends_while_a_lifespan_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lifespan is cancelled, and the start ends when it has cleaned up."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hanging_app.py").write_text(HANGING)
    requested = asyncio.Event()

    async def start() -> bool:
        async with functions(["x"], target="hanging_app:app"):
            return True

    starting = asyncio.create_task(run_unless(requested, "start", start()))
    async with asyncio.timeout(60):
        while not (tmp_path / "entered").exists():
            await asyncio.sleep(0.01)
        requested.set()
        assert await starting is None
    assert (tmp_path / "left").exists()


def test_process_ends_with_its_worker() -> None:
    """A process whose loop is blocked ends when its worker is gone."""
    (own, peer), (own_watch, peer_watch) = socket.socketpair(), socket.socketpair()
    with own, peer, own_watch, peer_watch:
        config = ChildConfig(
            socket_fd=peer.fileno(),
            watch_fd=peer_watch.fileno(),
            targets={"blocks": APP},
            max_part_bytes=1000,
            stop_timeout_seconds=0.01,
            block_warning_seconds=0.1,
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "hub.producer.child", msgspec.json.encode(config)],
            pass_fds=(peer.fileno(), peer_watch.fileno()),
        )
        context = RunContext(
            user="alice", generation="g1", attempt=1, chat=None, messages=[], model="m", params={},
            metadata={},
        )  # fmt: skip
        frame = msgspec.json.encode([Start(1, "blocks", context)])
        own.sendall(len(frame).to_bytes(4, "big") + frame)
        own_watch.settimeout(60)
        stack = b""
        while b"time.sleep" not in stack:
            own_watch.sendall(b"?")
            stack = own_watch.recv(65536)
    assert process.wait(60) == -signal.SIGALRM


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("no_such_module:app", "there is no module no_such_module"),
        ("tests.upstreams.function_app:nothing", "has no nothing"),
    ],
)
async def test_application_that_cannot_be_loaded(target: str, expected: str) -> None:
    """The worker does not start, and says why."""
    with pytest.raises(OperatorError, match=expected):
        async with functions(["x"], target=target):
            pass
