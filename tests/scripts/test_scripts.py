"""Run the scripts in a copy of the repository, with stubs for Python, uv, apt-get and others."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PYTHON = "[ $1 = -c ] && echo /stub/python3"  # the stub only answers the query of find_python
UV = """
if [ "$1" = --version ]; then echo "uv 99.0.0"; exit; fi
echo "$@" >>"$CALLS"
mkdir -p .venv/bin
cp "$INSTALLED" .venv/bin/python
cp "$INSTALLED" .venv/bin/hub
"""
INSTALLED = """
[ "$1" != -c ] || exec echo /stub/python3
echo "$0 $*"
"""
INPUTS = (  # what scripts/lib.sh makes .venv from
    *("pyproject.toml", "uv.lock", "hub/__init__.py"),
    *("clients/python/pyproject.toml", "clients/python/hub_client/__init__.py"),
)
TOOLS = (
    "bash",
    "cat",
    "chmod",
    "cksum",
    "cmp",
    "cp",
    "dirname",
    "env",
    "grep",
    "ln",
    "mkdir",
    "mv",
    "rm",
)


NPM_CI = "npm ci --ignore-scripts --no-audit --no-fund --loglevel=error"


class Machine:
    """A copy of the scripts in a folder with a space in its name, and a PATH of tools and stubs."""

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "a copy"
        self.bin = folder / "bin"
        self.calls = folder / "calls"
        self.elsewhere = folder / "elsewhere"
        for new_folder in (self.bin, self.elsewhere, self.repository):
            new_folder.mkdir(parents=True)
        shutil.copytree(REPOSITORY / "scripts", self.repository / "scripts")
        for name in INPUTS:
            (self.repository / name).parent.mkdir(parents=True, exist_ok=True)
            (self.repository / name).write_text(name)
        for tool in TOOLS:
            program = shutil.which(tool)
            assert program is not None
            (self.bin / tool).symlink_to(program)
        self.stub("python3", PYTHON)
        self.stub("uv", UV)
        self.stub("installed", INSTALLED)

    def stub(self, name: str, script: str) -> None:
        file = self.bin / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def run(self, script: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.repository / "scripts" / script, *args],
            cwd=self.elsewhere,
            env={
                "PATH": str(self.bin),
                "CALLS": str(self.calls),
                "INSTALLED": str(self.bin / "installed"),
                **env,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def syncs(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_dev_makes_the_environment_once_and_forwards_its_arguments(machine: Machine) -> None:
    """The second run finds the stamp file and starts the hub at once."""
    for _ in range(2):
        completed = machine.run("dev", "--data", "a b")
        assert completed.stdout == f"{machine.repository}/.venv/bin/hub dev --data a b\n"
        assert completed.returncode == 0
    (sync,) = machine.syncs
    assert "sync" in sync
    assert "--locked" in sync
    assert "--no-dev --inexact" in sync


@pytest.mark.parametrize("changed", INPUTS)
def test_a_changed_input_makes_the_environment_again(machine: Machine, changed: str) -> None:
    """The stamp file contains every input."""
    machine.run("dev")
    (machine.repository / changed).write_text("changed")
    machine.run("dev")
    assert len(machine.syncs) == 2


def test_dev_uses_the_environment_of_the_tests(machine: Machine) -> None:
    """Running the hub does not uninstall pytest; running the tests adds the dev group."""
    machine.stub("chromium", "")
    machine.stub("redis-server", "")
    machine.stub("node", "")
    machine.run("dev")
    tests = machine.run("test", "-k", "a b")
    machine.run("dev")
    assert tests.stdout == f"{machine.repository}/.venv/bin/python -m pytest -k a b\n"
    assert ["--no-dev" in sync for sync in machine.syncs] == [True, False]


def test_docs_makes_the_environment_and_forwards_its_arguments(machine: Machine) -> None:
    """Zensical is in the dev group."""
    completed = machine.run("docs", "serve", "8100")
    python = f"{machine.repository}/.venv/bin/python"
    assert completed.stdout == f"{python} scripts/build_docs.py serve 8100\n"
    (sync,) = machine.syncs
    assert "--no-dev" not in sync


def test_a_python_that_does_not_run_is_skipped(machine: Machine) -> None:
    """The shim that pyenv has for an inactive version exists, but fails."""
    machine.stub("python3.13", "echo 'pyenv: command not found' >&2; exit 127")
    machine.stub("python3.12", "echo /stub/python3.12")
    machine.run("dev")
    assert "--python /stub/python3.12" in machine.syncs[0]


def test_hub_python_selects_the_interpreter(machine: Machine) -> None:
    """No other interpreter is tried."""
    machine.stub("my-python", "echo /stub/mine")
    machine.run("dev", HUB_PYTHON=str(machine.bin / "my-python"))
    assert "--python /stub/mine" in machine.syncs[0]
    completed = machine.run("dev", HUB_PYTHON="/nowhere/python")
    assert completed.returncode == 2
    assert "HUB_PYTHON=/nowhere/python" in completed.stderr


def test_a_missing_python_prints_one_sentence_and_exits_with_2(machine: Machine) -> None:
    """The sentence names the supported versions."""
    machine.stub("python3", "exit 1")
    completed = machine.run("dev")
    assert completed.returncode == 2
    assert len(completed.stderr.splitlines()) == 1
    assert "3.11 to 3.15" in completed.stderr


def test_an_old_uv_is_not_used(machine: Machine) -> None:
    """The pinned version is installed; a failed installation leaves no files."""
    machine.stub("uv", "echo 'uv 0.13.7'")
    completed = machine.run("dev")
    assert "installing uv" in completed.stderr
    assert completed.returncode == 2
    assert not list((machine.repository / ".cache").glob("*"))


def test_a_failed_sync_is_tried_again(machine: Machine) -> None:
    """A failed run of uv writes no stamp file."""
    machine.stub("uv", "if [ $1 = --version ]; then echo 'uv 99.0.0'; else exit 1; fi")
    assert machine.run("dev").returncode == 2
    machine.stub("uv", UV)
    assert machine.run("dev").returncode == 0


def test_a_copied_environment_is_removed(machine: Machine) -> None:
    """Its programs contain the path of the original folder."""
    packages = machine.repository / ".venv/lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    (packages / "_editable_impl_ssehub.pth").write_text("/another/folder\n")
    completed = machine.run("dev")
    assert completed.returncode == 0
    assert "another folder" in completed.stderr
    assert not packages.exists()


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_missing_programs_are_listed_and_fail_only_in_ci(
    machine: Machine, ci: str, code: int
) -> None:
    """Without apt-get, the script cannot install them."""
    completed = machine.run("test", CI=ci)
    assert completed.returncode == code
    assert "apt-get install chromium redis-server" in completed.stderr
    assert ("-m pytest" in completed.stdout) == (code == 0)


def test_quick_installs_no_programs(machine: Machine) -> None:
    """Only the environment is made, also in CI; all arguments go to pytest."""
    completed = machine.run("test", "--quick", "-x", CI="true")
    assert completed.returncode == 0
    assert completed.stdout.endswith(" -m pytest --quick -x\n")
    assert len(machine.syncs) == 1


def test_interop_selects_the_tests_with_existing_clients(machine: Machine) -> None:
    """The option --keep-clients makes them write docs/clients/tested.md."""
    completed = machine.run("test", "interop", "-x")
    assert completed.stdout.endswith(" -m pytest tests/interop --keep-clients -x\n")


@pytest.mark.parametrize(
    "folder",
    [
        "tests/interop/js",
        "tests/pages",
        "tests/generated/typescript",
        "examples/react",
        "examples/vue",
    ],
)
@pytest.mark.parametrize(("installed", "runs"), [(False, 1), (True, 0)])
def test_javascript_packages_are_installed_when_their_lock_is_newer(
    machine: Machine, folder: str, installed: bool, runs: int
) -> None:
    """`npm ci` runs in each folder whose installed packages are older than its lock file."""
    machine.stub("npm", 'echo "npm $*" >>"$CALLS"')
    modules = machine.repository / folder / "node_modules"
    modules.mkdir(parents=True)
    lock, stamp = modules.parent / "package-lock.json", modules / ".package-lock.json"
    for file in (lock, stamp):
        file.write_text("{}")
    newer, older = (stamp, lock) if installed else (lock, stamp)
    os.utime(older, (1, 1))
    os.utime(newer, (2, 2))
    machine.run("test")
    assert [call for call in machine.syncs if call.startswith("npm")] == [NPM_CI] * runs


@pytest.mark.parametrize(("installed", "runs"), [("aiohttp==3\n", 1), ("aiohttp==4\n", 0)])
def test_generators_are_installed_when_their_versions_change(
    machine: Machine, installed: str, runs: int
) -> None:
    """uv makes their environment again if the requirements differ from the installed ones."""
    wanted = machine.repository / "tests" / "generated" / "python" / "requirements.txt"
    stamp = machine.repository / ".cache" / "generators" / "requirements.txt"
    for file, text in ((wanted, "aiohttp==4\n"), (stamp, installed)):
        file.parent.mkdir(parents=True)
        file.write_text(text)
    machine.run("test")
    commands = [call.split()[0] for call in machine.syncs]
    assert commands == ["sync", *["venv", "pip"] * runs]
    assert stamp.read_text() == "aiohttp==4\n"


def test_packages_of_python_programs_are_installed(machine: Machine) -> None:
    """Each program with a lock file has its own environment, made with the tests' Python."""
    folder = machine.repository / "tests" / "interop" / "python"
    folder.mkdir(parents=True)
    (folder / "turns_x.py.lock").write_text("")
    assert machine.run("test").returncode == 0
    (sync,) = machine.syncs[1:]
    assert "sync --quiet --locked --script tests/interop/python/turns_x.py --python" in sync


@pytest.mark.skipif(os.geteuid() != 0, reason="installs as root only")
def test_missing_programs_are_installed_by_root(machine: Machine) -> None:
    """Only the missing programs are installed, with fonts for Chromium, after apt-get update.

    Debian also has Chromium's headless shell, which is not required.
    """
    machine.stub("redis-server", "")
    for program in ("node", "npm", "javac", "pgbouncer"):
        machine.stub(program, "")
    machine.stub("apt-get", 'echo "apt $*" >>"$CALLS"; ln -sf redis-server "${0%/*}/chromium"')
    completed = machine.run("test", CI="true")
    assert completed.returncode == 0
    _sync, update, *installs = machine.syncs
    assert update.endswith(" update")
    is_debian = "\nID=debian\n" in Path("/etc/os-release").read_text()
    assert [install.partition("recommends ")[2] for install in installs] == [
        "chromium fonts-noto-cjk fonts-noto-color-emoji",
        *(["chromium-headless-shell"] if is_debian else []),
    ]
