"""The artefacts of a release, and empty environments to install them in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conftest import missing

ROOT = Path(__file__).parents[2]

# As in scripts/lib.sh: uv uses the certificates of the system only with this variable.
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
CERTIFICATES = {"UV_SYSTEM_CERTS": "true"} if BUNDLE.exists() else {}


def run(*command: str | Path, cwd: Path = ROOT, **env: str) -> str:
    """Run a command; return its standard output, or fail with its output."""
    completed = subprocess.run(
        command,
        cwd=cwd,
        env={**CERTIFICATES, **os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


class Environment:
    """A virtual environment, empty at first, and a folder without the source to run programs in."""

    def __init__(self, uv: str, folder: Path) -> None:
        self.uv = uv
        self.folder = folder
        self.bin = folder / "environment" / "bin"
        run(uv, "venv", "-q", "--no-config", folder / "environment")

    def install(self, *artefacts: Path, locked: tuple[str, ...]) -> None:
        """Install the locked dependencies and the artefacts, remove all else, and check that they
        fit. What is installed already stays, with its bytecode.

        locked: options of `uv export`, which lists the dependencies.
        """
        file = self.folder / "locked.txt"
        options = ("--locked", "--no-dev", "--no-emit-workspace", *locked)
        run(self.uv, "export", "-q", *options, "-o", file)
        with file.open("a") as requirements:
            for path in artefacts:
                name, digest = path.name.partition("-")[0], sha256(path.read_bytes()).hexdigest()
                requirements.write(f"{name} @ {path.as_uri()} --hash=sha256:{digest}\n")
        self._pip("sync", "--require-hashes", file)
        self._pip("check")

    def uninstall(self, *distributions: str) -> None:
        """Uninstall distributions, whether or not others need them."""
        self._pip("uninstall", *distributions)

    def distributions(self) -> set[str]:
        """Return the names of the installed distributions."""
        listed = json.loads(self._pip("list", "--format", "json"))
        return {each["name"] for each in listed}

    def python(self, code: str, *args: str) -> str:
        """Run code with the Python of this environment and return its output."""
        return run(self.bin / "python", "-I", "-c", code, *args, cwd=self.folder)

    def _pip(self, command: str, *args: str | Path) -> str:
        return run(self.uv, "pip", command, "-q", "--python", self.bin / "python", *args)


@pytest.fixture(scope="session")
def uv() -> str:
    """Return the uv on the PATH, or the one that scripts/lib.sh installed."""
    program = shutil.which("uv", path=f"{os.environ['PATH']}:{ROOT}/.cache/uv/bin")
    if program is None:
        missing("uv")
    return program


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run scripts/release --draft into a folder that already contains files."""
    if shutil.which("npm") is None:
        missing("npm")
    folder = tmp_path_factory.mktemp("release") / "dist"
    folder.mkdir()
    (folder / "ssehub-0.0.0.tar.gz").touch()
    (folder / "mine.txt").touch()
    run("scripts/release", "--draft", folder)
    return folder


@pytest.fixture(scope="session")
def environment(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return an environment, which each test fills with what it needs."""
    return Environment(uv, tmp_path_factory.mktemp("environment"))
