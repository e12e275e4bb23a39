"""What npm ships: one module, its types, and the version of the hub that serves the same file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

import hub
from tests.conftest import missing

pytestmark = pytest.mark.xdist_group("npm-package")  # which is packed in its own folder

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "javascript"
MODULE = ROOT / "hub" / "web" / "pages" / "hub.js"
TSC = Path(__file__).parent / "node_modules" / ".bin" / "tsc"

# The members that the page sees, by class; functions by themselves.
_MEMBERS = """
import * as hub from "%s";
const found = {};
for (const [name, value] of Object.entries(hub)) {
  const isClass = /^class /.test(Function.prototype.toString.call(value));
  const members = isClass ? Object.getOwnPropertyNames(value.prototype) : [];
  found[name] = members.filter((member) => member !== "constructor" && member !== "changed");
}
console.log(JSON.stringify(found));
"""


def run(*command: str, cwd: Path, seconds: float = 40) -> str:
    """Its output; what failed says why."""
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as npm packs it, installed for the pages of a folder."""
    npm = shutil.which("npm")
    if npm is None:
        missing("npm")
    folder = tmp_path_factory.mktemp("package")
    run(npm, "pack", "--silent", "--pack-destination", str(folder), cwd=PACKAGE)
    (packed,) = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        # Python 3.11 knows the filter only from 3.11.4 on, as an attribute everywhere.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder)  # noqa: S202 - our own archive
    modules = folder / "node_modules"
    modules.mkdir()
    (folder / "package").rename(modules / "hub-client")
    return folder


def test_package_is_the_served_file(unpacked: Path) -> None:
    """The same bytes as /hub.js, its types beside it, nothing left behind where it was packed."""
    package = unpacked / "node_modules" / "hub-client"
    described = json.loads((package / "package.json").read_text())
    assert (package / "hub.js").read_bytes() == MODULE.read_bytes()
    assert described["version"] == hub.__version__
    assert "dependencies" not in described
    names = {"hub.js", "hub.d.ts", "package.json", "README.md", "LICENSE"}
    assert {path.name for path in package.iterdir()} == names
    assert [path.name for path in PACKAGE.iterdir()] == ["package.json"]


def test_types_declare_what_there_is(unpacked: Path) -> None:
    """Every export, and every member of its classes."""
    node = shutil.which("node")
    assert node is not None
    script = _MEMBERS % (unpacked / "node_modules" / "hub-client" / "hub.js").as_uri()
    found = json.loads(run(node, "--input-type=module", "-e", script, cwd=unpacked))
    declared = {}
    types = MODULE.with_suffix(".d.ts").read_text()
    for kind, name, body in re.findall(
        r"^export (class|function) (\w+)(.*?)(?=^export |\Z)", types, re.MULTILINE | re.DOTALL
    ):
        members = re.findall(r"^  (?:get )?(\w+|\[Symbol\.\w+\])[(<]", body, re.MULTILINE)
        named = {member for member in members if member.isidentifier() and member != "constructor"}
        declared[name] = named if kind == "class" else set()
    assert declared == {name: set(members) for name, members in found.items()}


def test_types_hold_for_a_page(unpacked: Path) -> None:
    """tsc --strict takes what a page writes, and refuses what it must not."""
    if not TSC.exists():
        missing("typescript, which scripts/test installs,")
    shutil.copy(Path(__file__).with_name("usage.ts"), unpacked)
    flags = ["--strict", "--noEmit", "--target", "es2022", "--module", "esnext"]
    flags += ["--moduleResolution", "bundler"]
    run(str(TSC), *flags, "usage.ts", cwd=unpacked)
