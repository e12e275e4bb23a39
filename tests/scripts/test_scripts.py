"""scripts/* in a copy of the repository, with stubs for Python, uv, apt-get and the rest."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PYTHON = "[ $1 = -c ] && echo /stub/python3"  # what find_python asks; nothing else works
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
TOOLS = ("bash", "cat", "chmod", "cksum", "cp", "dirname", "env", "grep", "ln", "mkdir", "mv", "rm")


class Machine:
    """A folder with spaces that holds the scripts, and a PATH of a few tools and stubs."""

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "a copy"
        self.bin = folder / "bin"
        self.calls = folder / "calls"
        self.elsewhere = folder / "elsewhere"
        for made in (self.bin, self.elsewhere, self.repository / "hub"):
            made.mkdir(parents=True)
        shutil.copytree(REPOSITORY / "scripts", self.repository / "scripts")
        for name in ("pyproject.toml", "uv.lock", "hub/__init__.py"):
            (self.repository / name).write_text(name)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)
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


def test_dev_makes_the_environment_once_and_passes_its_arguments_on(machine: Machine) -> None:
    """The second run finds the stamp and goes straight to the hub."""
    for _ in range(2):
        done = machine.run("dev", "--data", "a b")
        assert done.stdout == f"{machine.repository}/.venv/bin/hub dev --data a b\n"
        assert done.returncode == 0
    (sync,) = machine.syncs
    assert "sync" in sync
    assert "--locked" in sync
    assert "--no-dev --inexact" in sync


@pytest.mark.parametrize("changed", ["uv.lock", "pyproject.toml", "hub/__init__.py"])
def test_a_change_of_what_the_environment_is_made_from_makes_it_again(
    machine: Machine, changed: str
) -> None:
    """The stamp holds every input."""
    machine.run("dev")
    (machine.repository / changed).write_text("changed")
    machine.run("dev")
    assert len(machine.syncs) == 2


def test_dev_is_content_with_the_environment_of_the_tests(machine: Machine) -> None:
    """Running the hub never uninstalls pytest; running the tests adds the dev group."""
    machine.stub("chromium", "")
    machine.stub("redis-server", "")
    machine.stub("node", "")
    machine.run("dev")
    tests = machine.run("test", "-k", "a b")
    machine.run("dev")
    assert tests.stdout == f"{machine.repository}/.venv/bin/python -m pytest -k a b\n"
    assert ["--no-dev" in sync for sync in machine.syncs] == [True, False]


def test_a_python_that_does_not_answer_is_passed_over(machine: Machine) -> None:
    """A pyenv shim of a version that is not active exists, and fails."""
    machine.stub("python3.13", "echo 'pyenv: command not found' >&2; exit 127")
    machine.stub("python3.12", "echo /stub/python3.12")
    machine.run("dev")
    assert "--python /stub/python3.12" in machine.syncs[0]


def test_hub_python_names_the_python(machine: Machine) -> None:
    """It is the only one that is tried."""
    machine.stub("my-python", "echo /stub/mine")
    machine.run("dev", HUB_PYTHON=str(machine.bin / "my-python"))
    assert "--python /stub/mine" in machine.syncs[0]
    done = machine.run("dev", HUB_PYTHON="/nowhere/python")
    assert done.returncode == 2
    assert "HUB_PYTHON=/nowhere/python" in done.stderr


def test_no_suitable_python_is_one_sentence_and_exit_2(machine: Machine) -> None:
    """It says which versions fit."""
    machine.stub("python3", "exit 1")
    done = machine.run("dev")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "3.11, 3.12 or 3.13" in done.stderr


def test_an_old_uv_is_not_used(machine: Machine) -> None:
    """The pinned one is installed instead, and where that fails nothing half-made stays."""
    machine.stub("uv", "echo 'uv 0.13.7'")
    done = machine.run("dev")
    assert "installing uv" in done.stderr
    assert done.returncode == 2
    assert not list((machine.repository / ".cache").glob("*"))


def test_a_failed_sync_is_tried_again(machine: Machine) -> None:
    """It leaves no stamp."""
    machine.stub("uv", "if [ $1 = --version ]; then echo 'uv 99.0.0'; else exit 1; fi")
    assert machine.run("dev").returncode == 2
    machine.stub("uv", UV)
    assert machine.run("dev").returncode == 0


def test_a_copied_environment_is_removed(machine: Machine) -> None:
    """Its scripts name the folder that it was copied from."""
    packages = machine.repository / ".venv/lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    (packages / "_editable_impl_hub.pth").write_text("/another/folder\n")
    done = machine.run("dev")
    assert done.returncode == 0
    assert "another folder" in done.stderr
    assert not packages.exists()


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_missing_programs_are_named_and_fail_in_ci_only(
    machine: Machine, ci: str, code: int
) -> None:
    """Without apt-get nothing can be installed here."""
    done = machine.run("test", CI=ci)
    assert done.returncode == code
    assert "apt-get install chromium redis-server" in done.stderr
    assert ("-m pytest" in done.stdout) == (code == 0)


def test_interop_is_a_word_of_its_own(machine: Machine) -> None:
    """The clients alone, and their table is written."""
    done = machine.run("test", "interop", "-x")
    assert done.stdout.endswith(" -m pytest tests/interop --keep-clients -x\n")


@pytest.mark.parametrize(
    "folder", ["tests/interop/js", "tests/pages", "examples/react", "examples/vue"]
)
@pytest.mark.parametrize(("installed", "asked"), [(False, 1), (True, 0)])
def test_javascript_packages_are_installed_when_their_lock_is_newer(
    machine: Machine, folder: str, installed: bool, asked: int
) -> None:
    """By npm, exactly as the lock file has them."""
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
    assert [call.split()[:2] for call in machine.syncs[1:]] == [["npm", "ci"]] * asked


@pytest.mark.skipif(os.geteuid() != 0, reason="installs as root only")
def test_missing_programs_are_installed_by_root(machine: Machine) -> None:
    """Only what is missing, with the fonts for Chromium, after an update."""
    machine.stub("redis-server", "")
    for program in ("node", "npm", "javac"):
        machine.stub(program, "")
    machine.stub("apt-get", 'echo "apt $*" >>"$CALLS"; ln -sf redis-server "${0%/*}/chromium"')
    done = machine.run("test", CI="true")
    assert done.returncode == 0
    _sync, update, install = machine.syncs
    assert update.endswith(" update")
    assert install.endswith("chromium fonts-noto-cjk fonts-noto-color-emoji")
