"""Test that the toolchains are optional."""

from __future__ import annotations

import pytest

from tests.languages.toolchains import command_of, need


@pytest.mark.parametrize("language", ["go", "rust", "java", "node"])
def test_tests_without_a_toolchain_are_skipped(
    language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test that needs a toolchain is skipped without it, also in CI, and says what is missing."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.skip.Exception, match="optional toolchain"):
        command_of(language)


def test_installed_toolchains_are_used() -> None:
    """A program that is installed is no reason to skip a test."""
    need("sh")
