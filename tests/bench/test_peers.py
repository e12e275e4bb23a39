"""Programs to compare with are given by name and path, or found on the PATH."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from bench.peers import programs
from bench.peers.programs import PROGRAMS, Program, parse_peer, use_programs


def make_program(folder: Path, name: str, output: str) -> Path:
    """Write an executable that prints its version."""
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{output}'\n")
    path.chmod(0o755)
    return path


def test_given_program_comes_before_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that is given counts; other programs are found on the PATH, with their versions."""
    monkeypatch.setattr(programs, "PROGRAMS", PROGRAMS.copy())
    make_program(tmp_path, "centrifugo", "Centrifugo v1.0.0")
    mercure = make_program(tmp_path, "mercure", "no number")
    given = make_program(tmp_path, "other", "Centrifugo v6.9.1 (Go version: go1.26)")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    use_programs(dict([parse_peer(f"centrifugo={given}")]))
    assert {
        "centrifugo": Program(str(given), "6.9.1"),
        "mercure": Program(str(mercure), "unknown"),
    } == programs.PROGRAMS


@pytest.mark.parametrize("text", ["centrifugo", "nginx=/bin/sh", "mercure=/no/such/program"])
def test_wrong_peer(text: str) -> None:
    """An argument without a path, of another name or without a program is refused."""
    with pytest.raises(argparse.ArgumentTypeError):
        parse_peer(text)
