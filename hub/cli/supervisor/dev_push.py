"""The keys with which `hub dev` sends push notifications, if the settings have none."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from hub.errors import OperatorError
from hub.settings import Push

KEY_FILE: Final = "vapid.key"
# Push services want an address of whoever sends. Nobody reads this one.
_SUBJECT: Final = "mailto:hub-dev@example.com"


def push_environment(push: Push, data: Path) -> dict[str, str]:
    """Return the variables that turn push notifications on, in a data directory that exists.

    There are none if the settings have a key, or if the extra `push` is not installed. The key is
    made once: subscriptions of browsers work with it only. Raise OperatorError.
    """
    if push.is_set or find_spec("pywebpush") is None:
        return {}
    path = data / KEY_FILE
    try:
        if not path.exists():
            _write_key(path)
    except OSError as error:
        raise OperatorError(f"cannot write {path}: {error}") from error
    variables = {"HUB_PUSH__PRIVATE_KEY_FILE": str(path)}
    return variables if push.subject else {**variables, "HUB_PUSH__SUBJECT": _SUBJECT}


def _write_key(path: Path) -> None:
    from hub.push.vapid import generate_vapid_keys

    new = path.with_suffix(".new")  # a process that is killed leaves no half of a key
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(generate_vapid_keys().private_key + "\n")
    new.rename(path)
