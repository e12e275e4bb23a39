"""`hub dev` as real processes: connect, publish, ask, stop, Ctrl-C, restarts."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub.cli.supervisor.dev import (
    BROKER_STOP_SECONDS,
    CHILDREN_STOP_SECONDS,
    UPSTREAM_STOP_SECONDS,
)
from hub.cli.supervisor.dev_processes import DevOptions
from hub_client import HubClient, StreamEvent
from tests.e2e.conftest import Dev, free_port
from tests.forked_hub import hub_program

# A test of the processes themselves starts each of them, and forks none.
IN_FULL = (sys.executable, "-m", "hub")
ENDS = {"generation.done", "generation.stopped", "generation.failed"}


async def follow(
    dev: Dev, user: str, until: Callable[[StreamEvent], bool], cursor: str = "live"
) -> list[StreamEvent]:
    """Return the events of a user's stream, up to the first one for which `until` is true."""
    events_seen: list[StreamEvent] = []
    async with (
        HubClient(dev.url, user=user) as hub,
        hub.events(cursor=cursor, control=True) as events,
    ):
        async for event in events:
            events_seen.append(event)
            if until(event):
                break
    return events_seen


def run(dev: Dev, *args: str) -> subprocess.CompletedProcess[str]:
    """Run one command with this hub."""
    env = {**os.environ, "HUB_CLIENT__URL": dev.url, "HUB_CLIENT__INTERNAL_URL": dev.internal_url}
    command = [hub_program(), *args]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return when the condition is true. It depends on other processes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.01)


async def test_published_event_is_in_the_stream(dev: Dev) -> None:
    """The stream begins with hub.open, and the event id begins with the cursor of the publish."""
    cursors: list[str] = []

    def publish_when_open(event: StreamEvent) -> bool:
        if event.name == "hub.open":
            cursors.append(dev.publish("paul", {"n": 1}))
        return event.name == "notification"

    opened, event = await follow(dev, "paul", publish_when_open)
    assert opened.name == "hub.open"
    assert opened.json()["user"] == "paul"
    assert (event.name, event.json()) == ("notification", {"n": 1})
    assert event.id.startswith(cursors[0].removesuffix("."))


async def test_missed_events_are_replayed_by_cursor(dev: Dev) -> None:
    """A client that returns gets the missed events once and in order, and then live events."""
    cursor = dev.publish("rita", 0)
    for n in range(1, 6):
        dev.publish("rita", n)

    def publish_after_replay(event: StreamEvent) -> bool:
        if event.data == "5":
            dev.publish("rita", 6)
        return event.data == "6"

    events = await follow(dev, "rita", publish_after_replay, cursor)
    assert events[0].json()["recovered"] is True
    assert events[0].json()["replayed"] == 5
    assert [event.data for event in events[1:]] == ["1", "2", "3", "4", "5", "6"]


async def test_answer_streams_into_the_channel(dev: Dev) -> None:
    """The stream has one start, numbered deltas and one end; the snapshot has the same text."""
    started = dev.call("POST", "/generations?user=anna", {"prompt": "why is the sky blue?"})
    events = await follow(dev, "anna", lambda e: e.name in ENDS, started["cursor"])
    generation_events = [e for e in events if e.name.startswith("generation.")]
    deltas = [e.json() for e in generation_events if e.name == "generation.delta"]
    text = "".join(delta["text"] for delta in deltas)
    assert [generation_events[0].name, generation_events[-1].name] == [
        "generation.started",
        "generation.done",
    ]
    assert [delta["i"] for delta in deltas] == list(range(len(deltas)))
    assert "Rayleigh" in text
    snapshot = dev.call("GET", f"/generations/{started['generation']}?user=anna")
    assert (snapshot["status"], snapshot["text"]) == ("done", text)
    assert snapshot["usage"]["completion_tokens"] >= len(deltas) == snapshot["deltas"]


async def test_stop_reaches_the_upstream(dev: Dev) -> None:
    """DELETE ends the stream of the answer and the connection to the upstream in its middle."""
    base = dev.upstream_url()
    before = _stats(base)["cut"]
    started = dev.call("POST", "/generations?user=stan", {"prompt": "count to 500"})
    path = f"/generations/{started['generation']}?user=stan"

    def stop_at_the_third(event: StreamEvent) -> bool:
        if event.name == "generation.delta" and event.json()["i"] == 2:
            assert dev.call("DELETE", path)["status"] == "stopping"
        return event.name in ENDS

    events = await follow(dev, "stan", stop_at_the_third, started["cursor"])
    assert events[-1].name == "generation.stopped"
    assert events[-1].json()["by"] == "stan"
    wait_for(lambda: bool(_stats(base)["cut"] == before + 1))
    assert dev.call("DELETE", path)["status"] == "already ended"
    snapshot = dev.call("GET", path)
    deltas = [e.json()["text"] for e in events if e.name == "generation.delta"]
    assert len(deltas) < 250  # of 500, which the upstream sends in eight seconds
    assert (snapshot["status"], snapshot["text"]) == ("stopped", "".join(deltas))
    assert snapshot["deltas"] == events[-1].json()["deltas"] == len(deltas)


async def test_restart_starts_another_generation(dev: Dev) -> None:
    """The running generation is stopped, and another one starts with the same request."""
    started = dev.call("POST", "/generations?user=rosa", {"prompt": "count to 300"})
    path = f"/generations/{started['generation']}/restart?user=rosa"
    restarted: list[dict[str, Any]] = []

    def restart_at_the_third(event: StreamEvent) -> bool:
        if event.name == "generation.delta" and event.json()["i"] == 2 and not restarted:
            restarted.append(dev.call("POST", path))
        return (
            bool(restarted)
            and event.name == "generation.delta"
            and (event.json()["generation"] == restarted[0]["generation"])
        )

    events = await follow(dev, "rosa", restart_at_the_third, started["cursor"])
    ends = [e.json()["generation"] for e in events if e.name == "generation.stopped"]
    assert ends == [started["generation"]]
    dev.call("DELETE", f"/generations/{restarted[0]['generation']}?user=rosa")


async def test_same_idempotency_key_starts_once(dev: Dev) -> None:
    """The second POST joins the generation of the first one."""
    body = {"prompt": "why is the sky blue?", "id": "click-1"}
    first = dev.call("POST", "/generations?user=ines", body)
    assert dev.call("POST", "/generations?user=ines", body) == first
    events = await follow(dev, "ines", lambda e: e.name in ENDS, first["cursor"])
    assert [e.name for e in events].count("generation.started") == 1


def test_ask_prints_the_growing_answer(dev: Dev) -> None:
    """The command prints the complete text, in any language, and exits."""
    command = run(dev, "ask", "kim", "为什么天空是蓝色的？")
    assert command.returncode == 0, command.stderr
    assert command.stdout.startswith("天空是蓝色的，因为空气对短波长的光散射得更强。\n\n1. 太阳光")
    assert "（模拟回答）" in command.stdout
    assert "sample_agent" in command.stderr


def test_interrupted_ask_stops_the_generation(dev: Dev) -> None:
    """Ctrl-C on `hub ask` stops the generation on the hub, not only the output."""
    command = [hub_program(), "ask", "ivan", "count to 900", "--url", dev.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(12)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"stopped by ivan" in errors


def test_publish_and_tail_from_the_command_line(dev: Dev) -> None:
    """`hub tail` prints the event of `hub publish` as one JSON object on a line."""
    published = run(dev, "publish", "tina", "--event", "export", "--data", '{"ready": true}')
    assert published.returncode == 0, published.stderr
    command = [hub_program(), "tail", "tina", "--json", "--cursor", "start"]
    with subprocess.Popen([*command, "--url", dev.url], stdout=subprocess.PIPE) as tail:
        assert tail.stdout is not None
        names = [json.loads(tail.stdout.readline())["event"] for _ in range(2)]
        tail.kill()
    assert names == ["hub.open", "export"]


def test_character_split_over_network_chunks_arrives_whole(tmp_path: Path) -> None:
    """An upstream that splits its bytes anywhere gives the same text."""
    port = free_port()
    command = [hub_program(), "upstream", "--port", str(port)]
    command += ["--network-chunk-bytes", "1", "--tokens-per-second", "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as upstream:
        try:
            assert upstream.stdout is not None
            assert b"simulated LLM at" in upstream.stdout.readline()
            env = {
                "HUB_UPSTREAMS__SPLIT__BASE_URL": f"http://127.0.0.1:{port}/v1",
                "HUB_UPSTREAMS__SPLIT__DEFAULT_MODEL": "simulated-1",
            }
            dev = Dev(tmp_path, env=env).wait_until_ready()
            try:
                answer = run(dev, "ask", "zoe", "为什么天空是蓝色的？")
            finally:
                dev.stop()
        finally:
            upstream.kill()
    assert "散射得更强" in answer.stdout
    assert "🌤️" in answer.stdout
    assert "\ufffd" not in answer.stdout


def test_simulated_default_beside_another_upstream(tmp_path: Path) -> None:
    """`default_upstream = "simulated"` keeps the simulated LLM, whatever else is in the file."""
    file = tmp_path / "hub.toml"
    file.write_text(
        'default_upstream = "simulated"\n'
        '[upstreams.away]\nbase_url = "http://127.0.0.1:1/v1"\ndefault_model = "m"\n'
    )
    dev = Dev(tmp_path, "--config", str(file)).wait_until_ready()
    try:
        answer = run(dev, "ask", "zoe", "why is the sky blue?", "--config", str(file))
    finally:
        dev.stop()
    assert "Rayleigh" in answer.stdout
    assert re.search(r"LLM +simulated, http://\S+/v1 \(and away\)", dev.output)


@pytest.mark.parametrize(
    ("upstreams", "default", "text"),
    [
        ([], None, "sample_agent, a built-in function without an LLM (and simulated, URL)"),
        ([], "simulated", "simulated, URL"),
        (["a"], "simulated", "simulated, URL (and a)"),
        (["a", "b"], "b", "b (and simulated, URL)"),
        (["a"], None, "a, the only one in the settings (and simulated, URL); default_upstream = "),
        (
            ["a", "b"],
            None,
            "a, the first in the settings (and simulated, URL); default_upstream = ",
        ),
    ],
)
def test_the_default_is_announced(upstreams: list[str], default: str | None, text: str) -> None:
    """What `hub dev` prints says which LLM answers, and why, if no setting says so."""
    options = DevOptions(
        port=0,
        internal_port=0,
        data=None,
        workers=1,
        tokens_per_second=1.0,
        config=None,
        upstreams=upstreams,
        default_upstream=default,
    )
    assert options.describe_llm("URL").startswith(text)


def test_child_processes_are_stopped_in_time() -> None:
    """When they do not exit by themselves, they are killed after 3 s at most."""
    assert CHILDREN_STOP_SECONDS + UPSTREAM_STOP_SECONDS + BROKER_STOP_SECONDS <= 3.0


def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    """All processes exit, with an open stream and a running generation."""
    dev = Dev(tmp_path, program=IN_FULL).wait_until_ready()
    children = dev.children()
    assert len(children) == 4
    with socket.create_connection(("127.0.0.1", dev.port), timeout=60) as stream:
        stream.sendall(b"GET /sse/connect/leo HTTP/1.1\r\nHost: x\r\n\r\n")
        dev.call("POST", "/generations?user=leo", {"prompt": "count to 900"})
        received = b""
        while b"generation.delta" not in received:
            received += stream.recv(65536)
        dev.stop()
        assert dev.wait() == 0
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
        while chunk := stream.recv(65536):
            received += chunk
    assert b'event: hub.bye\ndata: {"reason":"draining","reconnect":true' in received
    assert received.endswith(b"\n\n\r\n0\r\n\r\n")


def test_killed_supervisor_leaves_nothing(tmp_path: Path, short_path: Path) -> None:
    """The kernel kills the child processes when the supervisor is killed."""
    dev = Dev(tmp_path, env={"TMPDIR": str(short_path)}, program=IN_FULL).wait_until_ready()
    children = dev.children()
    dev.kill()
    wait_for(lambda: not any(_is_running(pid) for pid in children))


def test_killed_child_process_is_restarted(tmp_path: Path) -> None:
    """A killed node and a killed worker are restarted, and the next prompt gets an answer."""
    dev = Dev(tmp_path, "--tokens-per-second", "500").wait_until_ready()
    try:
        for command in ("serve", "worker"):
            os.kill(dev.child(command), signal.SIGKILL)
        wait_for(lambda: dev.output.count("child_process.exited") >= 2 and _is_ready(dev))
        assert run(dev, "ask", "mia", "Write a haiku").returncode == 0
    finally:
        dev.stop()


def test_data_directory_keeps_events(tmp_path: Path) -> None:
    """With --data, stored events survive a restart, and two hubs cannot share a directory."""
    data = tmp_path / "d"
    first = Dev(tmp_path, "--data", str(data)).wait_until_ready()
    first.publish("dora", {"kept": True})
    first.stop()
    second = Dev(tmp_path, "--data", str(data)).wait_until_ready()
    try:
        third = Dev(tmp_path, "--data", str(data))
        assert third.wait() == 2
        assert "another hub dev uses the data directory" in third.output
        with socket.create_connection(("127.0.0.1", second.port), timeout=60) as stream:
            stream.sendall(b"GET /sse/connect/dora?cursor=start HTTP/1.0\r\n\r\n")
            received = b""
            while b'{"kept":true}' not in received:
                received += stream.recv(65536)
    finally:
        second.stop()


@pytest.mark.parametrize("flag", ["--port", "--internal-port"])
def test_taken_port_is_named_with_its_flag(flag: str) -> None:
    """The error is one sentence with exit code 2, before anything starts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ports = {"--port": str(free_port()), "--internal-port": str(free_port()), flag: port}
        words = [word for pair in ports.items() for word in pair]
        command = subprocess.run(
            [hub_program(), "dev", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert command.returncode == 2
    assert command.stderr == f"hub: port {port} is in use; choose another one with {flag}\n"


def _stats(base: str) -> dict[str, int]:
    import urllib.request

    with urllib.request.urlopen(f"{base}/stats", timeout=60) as response:
        stats: dict[str, int] = json.load(response)
        return stats


def _is_ready(dev: Dev) -> bool:
    try:
        return bool(dev.call("GET", "/readyz", internal=True)["status"] == "ready")
    except (OSError, urllib.error.URLError):
        return False


def _is_running(pid: int) -> bool:
    """Return whether the process runs. A zombie that is not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
