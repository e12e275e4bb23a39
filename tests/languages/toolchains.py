"""Build the programs of `examples/` with the toolchains of this machine.

The toolchains are optional: without one, its tests are skipped, also in CI. Sources are copied to
`.cache/languages/build` and built there, so that the repository stays clean and a second run
builds only what has changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples"
PROTO: Final = ROOT / "hub" / "grpc" / "hub.proto"
BY_ITSELF: Final = Path(__file__).parent / "rust" / "by_itself.rs"
CACHE: Final = ROOT / ".cache" / "languages"
_MAX_BUILD_SECONDS: Final = 1800
_JAVA: Final = ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
_PROGRAMS: Final = {
    "go": ("go",),
    "rust": ("cargo",),
    "java": ("java", "javac", "mvn"),
    "node": ("node", "npm"),
}

Command = list[str]


def command_of(language: str) -> Command:
    """Build the program of a language; return its command. Skip the test without a toolchain."""
    return _BUILDERS[language]()


def has_toolchain(language: str) -> bool:
    """Return whether the programs of a language can be built here."""
    return all(shutil.which(each) is not None for each in _PROGRAMS[language])


def need(*programs: str) -> None:
    """Skip the test if a program is not installed."""
    absent = [each for each in programs if shutil.which(each) is None]
    if absent:
        pytest.skip(f"{' and '.join(absent)} (an optional toolchain) is not installed")


@cache
def _build_go() -> Command:
    need(*_PROGRAMS["go"])
    folder = _copy(EXAMPLES / "go", "go", {"hub.proto": PROTO})
    binary = folder / "bin" / "hub-examples"
    env = {**_go_environment(), "GOBIN": str(binary.parent)}
    env["PATH"] = f"{binary.parent}:{os.environ['PATH']}"
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=."]
    commands = (
        ["go", "install", "tool"],
        [*protoc, "--go_out=.", "--go-grpc_out=.", "hub.proto"],
        ["go", "vet", "."],
        ["go", "build", "-o", str(binary), "."],
    )
    _build(folder, env, commands)
    return [str(binary)]


@cache
def build_r3labs() -> Command:
    """Build the program that shows what r3labs/sse does."""
    need(*_PROGRAMS["go"])
    folder = _copy(Path(__file__).parent / "r3labs", "r3labs")
    _build(folder, _go_environment(), [["go", "build", "-o", "bin/r3labs", "."]])
    return [str(folder / "bin" / "r3labs")]


def _go_environment() -> dict[str, str]:
    return {
        "GOMODCACHE": str(CACHE / "go" / "mod"),
        "GOCACHE": str(CACHE / "go" / "build"),
        "GOFLAGS": "-modcacherw -mod=readonly -buildvcs=false",
        "GOTOOLCHAIN": "local",
    }


@cache
def _build_rust() -> Command:
    need(*_PROGRAMS["rust"])
    folder = _copy(EXAMPLES / "rust", "rust", {"src/bin/by_itself.rs": BY_ITSELF})
    target = CACHE / "rust"
    _build(folder, {"CARGO_TARGET_DIR": str(target)}, [["cargo", "build", "--locked"]])
    return [str(target / "debug" / "hub-examples")]


def by_itself_command() -> Command:
    """Return the command that runs eventsource-client as it is by default."""
    return [str(Path(_build_rust()[0]).with_name("by_itself"))]


@cache
def _build_java() -> Command:
    need(*_PROGRAMS["java"])
    folder = _copy(EXAMPLES / "java", "java", {"src/main/proto/hub.proto": PROTO})
    classpath = folder / "target" / "classpath"
    maven = ["mvn", "-q", "-B", f"-Dmaven.repo.local={CACHE / 'maven'}"]
    goals = ["compile", "dependency:build-classpath", f"-Dmdep.outputFile={classpath}"]
    _build(folder, {}, [[*maven, *goals]])
    classes = f"{folder / 'target' / 'classes'}:{classpath.read_text()}"
    return [*_JAVA, "-cp", classes, "com.example.hub.Main"]


@cache
def _build_node() -> Command:
    need(*_PROGRAMS["node"])
    folder = _copy(EXAMPLES / "grpc-node", "node", {"hub.proto": PROTO})
    _build(folder, {}, [["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]])
    return ["node", str(folder / "client.mjs")]


_BUILDERS: Final[dict[str, Callable[[], Command]]] = {
    "go": _build_go,
    "rust": _build_rust,
    "java": _build_java,
    "node": _build_node,
}


def _copy(source: Path, name: str, more: Mapping[str, Path] = MappingProxyType({})) -> Path:
    """Copy the files of a program, and more files by their paths in it, to the cache."""
    folder = CACHE / "build" / name
    shutil.rmtree(folder / "src", ignore_errors=True)  # no file stays that the source has no more
    shutil.copytree(source, folder, dirs_exist_ok=True)
    for path, file in more.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, folder / path)
    digest = sha256()
    for file in (*sorted(each for each in source.rglob("*") if each.is_file()), *more.values()):
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    (folder / ".inputs").write_text(digest.hexdigest())
    return folder


def _build(folder: Path, env: dict[str, str], commands: Sequence[Command]) -> None:
    """Run the commands unless they have succeeded with these files and commands."""
    inputs = f"{(folder / '.inputs').read_text()}\n{commands}\n{env.get('GOFLAGS')}"
    stamp = folder / ".built"
    if stamp.exists() and stamp.read_text() == inputs:
        return
    stamp.unlink(missing_ok=True)
    for command in commands:
        completed = subprocess.run(
            command, cwd=folder, env={**os.environ, **env}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            timeout=_MAX_BUILD_SECONDS,
        )  # fmt: skip
        assert completed.returncode == 0, f"{command}:\n{completed.stdout[-8000:]}"
    stamp.write_text(inputs)
