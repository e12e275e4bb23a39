"""Programs in place of docker, kubectl, sudo, systemctl and journalctl, for commands of documents.

No test has a Docker daemon, a cluster or root. These programs check what the real ones would
refuse: that files, names and settings exist and are valid. They end with an error otherwise, or if
they do not know the command. What they remember between two calls is in the folder STAND_INS.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml

_BIN = Path(sys.executable).parent
_SYSTEM_FOLDERS = ("/etc/", "/opt/")


def install(folder: Path) -> None:
    """Write the programs into a folder, which becomes the first one on the PATH."""
    root = Path(__file__).parents[2]
    for name in PROGRAMS:
        program = folder / name
        program.write_text(
            f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(root))} exec {shlex.quote(sys.executable)} "
            f'-m tests.docs.stand_ins {name} "$@"\n'
        )
        program.chmod(0o755)


def docker(arguments: Sequence[str]) -> None:
    match arguments:
        case ["build", "-t", image, folder]:
            text = (Path(folder) / "Dockerfile").read_text()
            for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
                for source in sources.split():
                    _check((Path(folder) / source).exists(), f"COPY {source}: no such file")
            _run(_BIN / "hadolint", Path(folder) / "Dockerfile")
            _remember("images", image)
        case ["push", image]:
            _check(image in _remembered("images"), f"there is no image {image}")
        case ["run", "--rm", image, *command]:
            _check(image in _remembered("images"), f"there is no image {image}")
            _run("hub", *command)  # the entry point of the image
        case ["compose", "-f", file, "up", *_]:
            _check_compose(Path(file))
        case _:
            _check(False, f"docker {' '.join(arguments)} is not known here")


def _check_compose(file: Path) -> None:
    _run(_BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)
    text = file.read_text()
    for name in re.findall(r"\$\{(\w+):\?\}", text):
        _check(bool(os.environ.get(name)), f"set {name}")
    for service in yaml.safe_load(text)["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith((".", "/")):
                _check((file.parent / source).exists(), f"the volume {source} does not exist")


def kubectl(arguments: Sequence[str]) -> None:
    match arguments:
        case ["create", "secret", "generic", _, *literals]:
            pairs = [each.removeprefix("--from-literal=").split("=", 1) for each in literals]
            _check_settings(dict(pairs))
        case ["apply", "-f", file]:
            _run(_BIN / "kubernetes-validate", "--strict", file)
            for document in yaml.safe_load_all(Path(file).read_text()):
                kind = document["kind"].lower()
                _remember("objects", f"{kind}/{document['metadata']['name']}")
        case ["rollout", "status", name]:
            _check(name in _remembered("objects"), f"there is no {name}")
        case _:
            _check(False, f"kubectl {' '.join(arguments)} is not known here")


def _check_settings(variables: dict[str, str]) -> None:
    """Check that a node starts with these variables, beside those that are not secret."""
    from hub.settings import check_for_production, load_settings  # takes a second

    for name in [name for name in os.environ if name.startswith("HUB_")]:
        del os.environ[name]
    os.environ["HUB_UPSTREAMS__MAIN__BASE_URL"] = "https://llm.example/v1"
    os.environ.update(variables)
    check_for_production(load_settings(Path(os.devnull)).settings)


def sudo(arguments: Sequence[str]) -> None:
    """Run a command with the folders of the system below STAND_INS."""
    folder = _folder()
    _run(*(f"{folder}{each}" if each.startswith(_SYSTEM_FOLDERS) else each for each in arguments))


def systemctl(arguments: Sequence[str]) -> None:
    match arguments:
        case ["daemon-reload"]:
            pass
        case ["enable", "--now", *units]:
            for unit in units:
                _check_unit(unit)
        case _:
            _check(False, f"systemctl {' '.join(arguments)} is not known here")


def journalctl(arguments: Sequence[str]) -> None:
    match arguments:
        case ["-u", unit, "-f"]:
            _check_unit(unit)
        case _:
            _check(False, f"journalctl {' '.join(arguments)} is not known here")


def _check_unit(unit: str) -> None:
    file = _folder() / "etc" / "systemd" / "system" / f"{unit}.service"
    _check(file.exists(), f"there is no unit {unit}")


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def _check(is_good: bool, otherwise: str) -> None:
    if not is_good:
        sys.exit(otherwise)


def _folder() -> Path:
    return Path(os.environ["STAND_INS"])


def _remembered(kind: str) -> Iterator[str]:
    file = _folder() / kind
    yield from map(json.loads, file.read_text().splitlines() if file.exists() else ())


def _remember(kind: str, name: str) -> None:
    with (_folder() / kind).open("a") as file:
        file.write(json.dumps(name) + "\n")


PROGRAMS: dict[str, Callable[[Sequence[str]], None]] = {
    each.__name__: each for each in (docker, kubectl, sudo, systemctl, journalctl)
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2:])
