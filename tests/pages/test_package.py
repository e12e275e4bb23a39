"""The npm package contains the served module, its types, and the version of the hub."""

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

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "javascript"
MODULE = ROOT / "hub" / "http" / "pages" / "hub.js"
TSC = Path(__file__).parent / "node_modules" / ".bin" / "tsc"

# Prints the public members of each exported class, and the exported functions.
_MEMBERS = """
import * as hub from "%s";
const found = {};
for (const [name, value] of Object.entries(hub)) {
  const isClass = /^class /.test(Function.prototype.toString.call(value));
  const members = isClass ? Object.getOwnPropertyNames(value.prototype) : [];
  found[name] = members.filter((member) => member !== "constructor" && member !== "update");
}
console.log(JSON.stringify(found));
"""


def run(*command: str, cwd: Path, seconds: float = 40) -> str:
    """Run a command and return its output. A failure shows the output."""
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where the package is installed as npm packs it."""
    npm = shutil.which("npm")
    if npm is None:
        missing("npm")
    folder = tmp_path_factory.mktemp("package")
    # npm copies files into the folder of the package for a moment: other tests must not see them.
    for part in ("clients/javascript", "docs", "hub/http/pages"):
        shutil.copytree(ROOT / part, folder / part)
    shutil.copy(ROOT / "LICENSE", folder)
    copy = folder / PACKAGE.relative_to(ROOT)
    run(npm, "pack", "--silent", "--pack-destination", str(folder), cwd=copy)
    (packed,) = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        # The filter exists since Python 3.11.4.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder)  # noqa: S202 - our own archive
    scope = folder / "node_modules" / "@ssehub"
    scope.mkdir(parents=True)
    (folder / "package").rename(scope / "client")
    return folder


def test_package_is_the_served_file(unpacked: Path) -> None:
    """The package has the bytes of the served modules and their types, and packing leaves no files
    behind.
    """
    package = unpacked / "node_modules" / "@ssehub" / "client"
    metadata = json.loads((package / "package.json").read_text())
    served = ["hub.js", "inbox.js", "hub-inbox.js"]
    served += [f"hub-inbox/{part.name}" for part in (MODULE.parent / "hub-inbox").iterdir()]
    for name in served:
        assert (package / name).read_bytes() == (MODULE.parent / name).read_bytes()
    assert metadata["version"] == hub.__version__
    assert "dependencies" not in metadata
    own = {"backend.js", "backend.d.ts", "package.json"}
    names = {
        "hub.js",
        "hub.d.ts",
        "hub-sw.js",
        "inbox.js",
        "hub-inbox.js",
        "hub-inbox.d.ts",
        "hub-inbox",
    }
    names |= {"README.md", "LICENSE", *own}
    assert {path.name for path in package.iterdir()} == names
    copy = unpacked / PACKAGE.relative_to(ROOT)
    assert {path.name for path in copy.iterdir()} == own


def test_types_declare_every_export(unpacked: Path) -> None:
    """The types declare every export and every member of its classes."""
    node = shutil.which("node")
    assert node is not None
    script = _MEMBERS % (unpacked / "node_modules" / "@ssehub" / "client" / "hub.js").as_uri()
    exported = json.loads(run(node, "--input-type=module", "-e", script, cwd=unpacked))
    declared = {}
    types = MODULE.with_suffix(".d.ts").read_text()
    for kind, name, body in re.findall(
        r"^export (class|function) (\w+)(.*?)(?=^export |\Z)", types, re.MULTILINE | re.DOTALL
    ):
        members = re.findall(r"^  (?:get )?(\w+|\[Symbol\.\w+\])[(<]", body, re.MULTILINE)
        named = {member for member in members if member.isidentifier() and member != "constructor"}
        declared[name] = named if kind == "class" else set()
    assert declared == {name: set(members) for name, members in exported.items()}


def test_types_check_a_page(unpacked: Path) -> None:
    """tsc --strict accepts correct use of the module and rejects wrong use."""
    if not TSC.exists():
        missing("typescript, which scripts/test installs,")
    shutil.copy(Path(__file__).with_name("usage.ts"), unpacked)
    flags = ["--strict", "--noEmit", "--target", "es2022", "--module", "esnext"]
    flags += ["--moduleResolution", "bundler"]
    run(str(TSC), *flags, "usage.ts", cwd=unpacked)
