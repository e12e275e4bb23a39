"""The functions of `--app`: `hub dev` declares them as upstreams, `hub worker` requires it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from hub.cli.supervisor.dev_processes import DevApp
from hub.errors import OperatorError
from hub.producer.describe import FunctionDescription

if TYPE_CHECKING:
    from hub.settings import Settings


def describe_app(target: str) -> Sequence[FunctionDescription]:
    """Return the functions of an app, which is loaded in a process of its own.

    Raise OperatorError if it cannot be loaded or has no functions.
    """
    from hub.settings import patterns

    if re.match(patterns.FUNCTION, target) is None:
        raise OperatorError(f"--app {target}: {patterns.REQUIREMENTS[patterns.FUNCTION]}")
    command = [sys.executable, "-P", "-m", "hub.producer.describe", target]
    described = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if described.returncode != 0:
        raise OperatorError(f"--app {target}: {described.stderr.strip()}")
    print(described.stderr, end="", file=sys.stderr)
    functions = msgspec.json.decode(described.stdout, type=list[FunctionDescription])
    if not functions:
        raise OperatorError(
            f"--app {target}: the app has no functions; declare one with @app.producer()"
        )
    return functions


def upstream_settings(target: str, function: FunctionDescription) -> dict[str, Any]:
    """Return the settings of the upstream of a function."""
    max_running = {} if function.max_running is None else {"max_running": function.max_running}
    return {"kind": "function", "target": target, **max_running}


def load_dev_app(settings: Settings, target: str) -> DevApp:
    """Return an app for `hub dev`. Raise OperatorError if a name of it is another upstream's."""
    functions = describe_app(target)
    for function in functions:
        upstream = settings.upstreams.get(function.name)
        if upstream is not None and not upstream.is_function:
            raise OperatorError(
                f"--app {target}: the settings have an upstream {function.name!r} that is no "
                "function; rename one of them"
            )
    return DevApp(target, {each.name: upstream_settings(target, each) for each in functions})


def check_declared(settings: Settings, target: str) -> None:
    """Raise OperatorError with the lines to add unless the settings declare each function."""
    module = target.partition(":")[0]
    missing = []
    for function in describe_app(target):
        upstream = settings.upstreams.get(function.name)
        if upstream is None or upstream.target not in (target, f"{module}:{function.name}"):
            settings_of_it = upstream_settings(target, function)
            lines = (f"{k} = {msgspec.json.encode(v).decode()}" for k, v in settings_of_it.items())
            missing.append("\n".join([f"[upstreams.{function.name}]", *lines]))
    if missing:
        raise OperatorError(
            "the settings do not declare each function of the app; nodes and workers must know "
            "them, so add these lines to the settings of all of them:\n\n" + "\n\n".join(missing)
        )
