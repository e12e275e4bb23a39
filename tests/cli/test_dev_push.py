"""The keys for push notifications that `hub dev` makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.cli.supervisor.dev_push import KEY_FILE, push_environment
from hub.errors import OperatorError
from hub.push.vapid import generate_vapid_keys, load_vapid_keys
from hub.settings import Push


def test_keys_are_made_once(tmp_path: Path) -> None:
    """A data directory keeps its key, which only its owner can read."""
    variables = push_environment(Push(), tmp_path)
    path = tmp_path / KEY_FILE
    assert variables["HUB_PUSH__PRIVATE_KEY_FILE"] == str(path)
    assert variables["HUB_PUSH__SUBJECT"].startswith("mailto:")
    assert path.stat().st_mode & 0o777 == 0o600
    first = load_vapid_keys(path.read_text())
    assert push_environment(Push(), tmp_path) == variables
    assert load_vapid_keys(path.read_text()) == first
    assert [each.name for each in tmp_path.iterdir()] == [KEY_FILE]


def test_settings_come_first(tmp_path: Path) -> None:
    """A key or a subject of the settings is used."""
    table = {"private_key": generate_vapid_keys().private_key, "subject": "mailto:a@b.example"}
    assert push_environment(Push.model_validate(table), tmp_path) == {}
    assert list(tmp_path.iterdir()) == []
    with_subject = push_environment(Push(subject="mailto:a@b.example"), tmp_path)
    assert list(with_subject) == ["HUB_PUSH__PRIVATE_KEY_FILE"]


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pywebpush no worker could send, so there are no keys."""
    monkeypatch.setattr("hub.cli.supervisor.dev_push.find_spec", lambda name: None)
    assert push_environment(Push(), tmp_path) == {}


def test_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(OperatorError, match=KEY_FILE):
        push_environment(Push(), tmp_path / "missing")
