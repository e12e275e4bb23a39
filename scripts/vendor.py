"""Copy the libraries of the pages from npm: scripts/vendor.py [PACKAGE=VERSION ...].

`hub/http/pages/vendor/manifest.json` lists each package with its version, its licence, and each
copied file with its path in the package and its hash (`integrity`, as in the SRI specification of
the W3C); `suffix` is a text that the copy has in addition. The script copies the files of the given
packages, or of all, and writes versions, licences and hashes into the manifest. It refuses a
licence that `licences.py` does not allow. `tests/pages/test_vendor.py` checks that files and
manifest agree.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from base64 import b64encode
from hashlib import sha384
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from licences import is_allowed

PAGES: Final = Path(__file__).resolve().parents[1] / "hub" / "http" / "pages"
MANIFEST: Final = PAGES / "vendor" / "manifest.json"


def integrity_of(body: bytes) -> str:
    """Return the hash of a file as the attribute `integrity` has it."""
    return "sha384-" + b64encode(sha384(body).digest()).decode()


def copy_package(package: dict[str, Any], version: str) -> None:
    """Copy the files of one package, and write version, licence and hashes into its entry.

    Raise ValueError if its licence is not allowed.
    """
    with TemporaryDirectory() as folder:
        source = f"{package['package']}@{version}"
        command = ["npm", "pack", "--silent", "--pack-destination", folder, source]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (packed,) = Path(folder).glob("*.tgz")
        with tarfile.open(packed) as archive:
            names = ["package/package.json", *("package/" + f["from"] for f in package["files"])]
            bodies = [_read(archive, name) for name in names]
    metadata = json.loads(bodies[0])
    if not is_allowed(metadata["license"]):
        raise ValueError(f"{source}: the licence {metadata['license']} is not allowed")
    package["version"], package["licence"] = metadata["version"], metadata["license"]
    for file, body in zip(package["files"], bodies[1:], strict=True):
        whole = body + file.get("suffix", "").encode()
        (PAGES / file["path"]).write_bytes(whole)
        file["integrity"] = integrity_of(whole)


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    assert member is not None, name
    return member.read()


def main(versions: dict[str, str]) -> None:
    """Copy these packages in these versions, or all in the versions of the manifest."""
    packages = json.loads(MANIFEST.read_text())
    unknown = versions.keys() - {package["package"] for package in packages}
    if unknown:
        sys.exit(f"scripts/vendor.py: not in the manifest: {', '.join(sorted(unknown))}")
    for package in packages:
        if not versions or package["package"] in versions:
            copy_package(package, versions.get(package["package"], package["version"]))
    MANIFEST.write_text(json.dumps(packages, indent=2) + "\n")


if __name__ == "__main__":
    main(dict(argument.split("=", 1) for argument in sys.argv[1:]))
