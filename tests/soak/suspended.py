"""Suspended answers: they hold nothing but their records, and survive the loss of every process.

Functions suspend their answers. Then node, worker and Valkey, which keeps its data, are killed and
started again; each value is given on two nodes at once, and the worker is killed once more
meanwhile. Each answer must end exactly once with the value that counts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, Final

import aiohttp

from hub.backends.embedded import embedded_url
from tests.conftest import temporary_folder
from tests.forked_hub import HubProcess, start_hub
from tests.processes import Valkey
from tests.topologies import free_ports

_USERS: Final = 10
_ENDS: Final = ("generation.done", "generation.stopped", "generation.failed")
_RUNNING: Final = r"^hub_generations_running(?:{.*})? ([0-9.]+)$"
_SERVER: Final = r"^(connected_clients|used_memory):(\d+)"
_APP: Final = """
from hub.producer import App, Run, Suspend

app = App()


@app.producer(retries=3)
async def approval(run: Run):
    if run.checkpoint is None:
        yield "asked "
        raise Suspend("refund", "Refund 40 euros?", options=["approve", "deny"], state={"n": 1})
    yield run.inputs["refund"]
"""


class Figures:
    """What suspended answers hold. jobs: of the queue. connections: of the server, more than
    before; memory_bytes: of the server, for each answer, with its events and its question.
    """

    def __init__(self, jobs: int, running: int, connections: int, memory_bytes: float) -> None:
        self.jobs = jobs
        self.running = running
        self.connections = connections
        self.memory_bytes = memory_bytes

    def __str__(self) -> str:
        return (
            f"jobs {self.jobs}, running on the worker {self.running}, more connections to the "
            f"server {self.connections}, {self.memory_bytes:,.0f} bytes of the server each"
        )


class SuspendedRuns:
    """Two nodes, a worker and a Valkey on this machine. runs: how many answers are suspended."""

    def __init__(self, folder: Path, session: aiohttp.ClientSession, runs: int) -> None:
        self._folder = folder
        self._session = session
        self._runs = runs
        self._valkey = Valkey(folder)
        ports = free_ports(5)
        self._node_ports = [(ports[0], ports[1]), (ports[2], ports[3])]
        self._worker_port = ports[4]
        self._nodes: list[HubProcess] = []
        self._worker: HubProcess | None = None
        self.ids: dict[str, str] = {}  # the user of each answer
        self.values: dict[str, str] = {}  # that count

    async def start(self) -> None:
        (self._folder / "answers.py").write_text(_APP)
        await self._valkey.start()
        await self._start_hub()

    async def suspend_all(self) -> Figures:
        """Start the answers, and return when all are suspended and released."""
        await self._server_is_quiet()
        before = await self._server()
        started = await asyncio.gather(*(self._ask(n) for n in range(self._runs)))
        self.ids = dict(started)
        await self._until_status("suspended", self._runs)
        async with asyncio.timeout(60):
            while await self._running() or await self._jobs():
                await asyncio.sleep(0.05)
        await self._server_is_quiet()
        after = await self._server()
        return Figures(
            await self._jobs(),
            await self._running(),
            after["connected_clients"] - before["connected_clients"],
            (after["used_memory"] - before["used_memory"]) / self._runs,
        )

    async def kill_everything(self) -> None:
        """Kill both nodes, the worker and the server, and start them again."""
        await self._kill_hub()
        await asyncio.sleep(1.1)  # the server writes its file to the disk once a second
        await self._valkey.kill()
        await self._valkey.start()
        await self._start_hub()

    async def answer_all(self) -> None:
        """Give each value on two nodes at once; kill the worker in the middle."""
        ids = list(self.ids)
        half = len(ids) // 2
        await asyncio.gather(*(self._answer(each) for each in ids[:half]))
        await self._kill_worker()
        await self._start_worker()
        await asyncio.gather(*(self._answer(each) for each in ids[half:]))
        await self._until_status("done", self._runs)

    async def check(self) -> list[str]:
        """Return what is wrong with the answers."""
        problems: list[str] = []
        for user in {*self.ids.values()}:
            events = await self._events(user)
            ends = Counter(data["generation"] for name, data in events if name in _ENDS)
            for generation in (each for each in self.ids if self.ids[each] == user):
                record = await self._call("GET", f"/generations/{generation}?user={user}")
                text = f"asked {self.values[generation]}"
                if (record["status"], record["text"]) != ("done", text):
                    problems.append(f"{generation}: {record['status']} {record['text']!r}")
                if ends[generation] != 1:
                    problems.append(f"{generation}: {ends[generation]} ends")
        return problems

    async def stop(self) -> None:
        await self._kill_hub()
        await self._valkey.kill()

    async def _ask(self, n: int) -> tuple[str, str]:
        user = f"u{n % _USERS}"
        started = await self._call("POST", f"/generations?user={user}", {"prompt": "refund"})
        return started["generation"], user

    async def _answer(self, generation: str) -> None:
        user = self.ids[generation]
        path = f"/generations/{generation}/inputs/refund?user={user}"
        replies = await asyncio.gather(
            *(self._post_value(node, path, value) for node, value in enumerate(("approve", "deny")))
        )
        counted = {reply["value"] for _, reply in replies}
        if sorted(status for status, _ in replies) != [200, 409] or len(counted) != 1:
            raise AssertionError(f"two values count: {replies}")
        self.values[generation] = counted.pop()

    async def _post_value(self, node: int, path: str, value: str) -> tuple[int, dict[str, Any]]:
        url = f"http://127.0.0.1:{self._node_ports[node][0]}{path}"
        async with self._session.post(url, json={"value": value}) as response:
            return response.status, await response.json(content_type=None)

    async def _until_status(self, status: str, count: int) -> None:
        async with asyncio.timeout(120):
            while True:
                pages = await asyncio.gather(
                    *(self._listed(f"u{n}", status) for n in range(_USERS))
                )
                if sum(map(len, pages)) >= count:
                    return
                await asyncio.sleep(0.2)

    async def _listed(self, user: str, status: str) -> list[str]:
        listed: list[str] = []
        before = ""
        while True:
            path = f"/generations?user={user}&status={status}&limit=100{before}"
            page = await self._call("GET", path)
            listed += [each["generation"] for each in page["generations"]]
            if page["next"] is None:
                return listed
            before = f"&before={page['next']}"

    async def _events(self, user: str) -> list[tuple[str, dict[str, Any]]]:
        events: list[tuple[str, dict[str, Any]]] = []
        cursor = "start"
        while True:
            page = await self._call("GET", f"/poll/connect/{user}?cursor={cursor}&wait=0")
            events += [(each["event"], each["data"]) for each in page["events"]]
            if not any(each["event"].startswith("generation.") for each in page["events"]):
                return [each for each in events if each[0].startswith("generation.")]
            cursor = page["cursor"]

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        url = f"http://127.0.0.1:{self._node_ports[0][0]}{path}"
        async with self._session.request(method, url, json=body) as response:
            answer = await response.json(content_type=None)
            if response.status >= 400:
                raise AssertionError(f"{method} {path}: {answer}")
            return answer

    async def _jobs(self) -> int:
        port = self._node_ports[0][1]
        async with self._session.get(f"http://127.0.0.1:{port}/generations") as response:
            listed = (await response.json())["generations"]  # suspended ones come last
            return sum(each["status"] != "suspended" for each in listed)

    async def _running(self) -> int:
        async with self._session.get(f"http://127.0.0.1:{self._worker_port}/metrics") as response:
            running = re.search(_RUNNING, await response.text(), re.MULTILINE)
        assert running is not None
        return int(float(running[1]))

    async def _server(self) -> Mapping[str, int]:
        reply = (await self._valkey.ask("INFO")).decode()
        return {name: int(value) for name, value in re.findall(_SERVER, reply, re.MULTILINE)}

    async def _server_is_quiet(self) -> None:
        """Return when the connections that processes open at their start are there: when their
        number has not changed for two seconds, because a busy machine may stall a process.
        """
        before, unchanged = -1, 0
        while unchanged < 4:
            now = (await self._server())["connected_clients"]
            before, unchanged = now, unchanged + 1 if now == before else 0
            await asyncio.sleep(0.5)

    async def _start_hub(self) -> None:
        for n in range(len(self._node_ports)):
            public, internal = self._node_ports[n]
            node = {"HUB_PUBLIC__PORT": str(public), "HUB_INTERNAL__PORT": str(internal)}
            self._nodes.append(self._start("serve", f"n{n}", node))
        await self._start_worker()
        for _, internal in self._node_ports:
            await self._until_ready(internal)

    async def _start_worker(self) -> None:
        port = {"HUB_WORKER__PORT": str(self._worker_port)}
        self._worker = self._start("worker", "w", port)
        await self._until_ready(self._worker_port)

    def _start(self, command: str, name: str, settings: Mapping[str, str]) -> HubProcess:
        env = {
            **os.environ,
            "HUB_NODE__NAME": name,
            "HUB_REDIS__URL": embedded_url(self._folder),
            "HUB_REDIS__TIMEOUT_SECONDS": "10",  # Valkey may be slow on a busy machine
            "HUB_AUTH__DISABLED": "true",
            "HUB_UPSTREAMS__approval__KIND": "function",
            "HUB_UPSTREAMS__approval__TARGET": "answers:app",
            "HUB_GENERATIONS__MAX_QUEUED_PER_USER": "1000",
            "HUB_GENERATIONS__MAX_WAITING_PER_USER": "1000",
            "HUB_WORKER__LEASE_SECONDS": "3",
            **settings,
        }
        with (self._folder / f"{name}.log").open("ab") as log:
            return start_hub(command, env=env, output=log, folder=self._folder)

    async def _until_ready(self, port: int) -> None:
        async with asyncio.timeout(60):
            while True:
                try:
                    async with self._session.get(f"http://127.0.0.1:{port}/readyz") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)

    async def _kill_hub(self) -> None:
        nodes, self._nodes = self._nodes, []
        for node in nodes:
            await _kill(node)
        await self._kill_worker()

    async def _kill_worker(self) -> None:
        if self._worker is not None:
            await _kill(self._worker)


async def _kill(process: HubProcess) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def run(runs: int, folder: Path) -> tuple[Figures, list[str]]:
    """Suspend so many answers, lose every process, and answer all. Return what is wrong."""
    async with AsyncExitStack() as opened:
        session = await opened.enter_async_context(aiohttp.ClientSession())
        case = SuspendedRuns(folder, session, runs)
        opened.push_async_callback(case.stop)
        await case.start()
        figures = await case.suspend_all()
        await case.kill_everything()
        await case.answer_all()
        return figures, await case.check()


def main(arguments: Sequence[str]) -> int:
    """Run it, and print the figures. Return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/soak suspended", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="how many answers are suspended")
    options = parser.parse_args(arguments)
    started_at = time.monotonic()
    with ExitStack() as stack:
        folder = temporary_folder("suspended", stack)
        figures, problems = asyncio.run(run(options.runs, folder))
    print(f"{options.runs} suspended answers: {figures}")
    print("\n".join(problems) or f"each ended once ({time.monotonic() - started_at:.0f} s)")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
