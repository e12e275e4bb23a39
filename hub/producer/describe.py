"""Prints the functions of an app as JSON: `python -m hub.producer.describe answers:app`.

The commands run it as a process, so that the application's code stays out of theirs. It exits with
1 and a message on standard error if the app cannot be loaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from hub.producer.loading import CannotLoad, load_app


class FunctionDescription(msgspec.Struct, frozen=True):
    """A function of an app. max_running: as in App.producer."""

    name: str
    max_running: int | None


def main() -> None:
    """Print the functions of the app that the first argument names."""
    sys.path.insert(0, str(Path.cwd()))
    output, sys.stdout = sys.stdout, sys.stderr  # what the application prints while it is loaded
    try:
        app = load_app(sys.argv[1])
    except CannotLoad as error:
        sys.exit(str(error))
    functions = [
        FunctionDescription(each.name, each.max_running) for each in app.producers.values()
    ]
    output.write(msgspec.json.encode(functions).decode())
    output.flush()


if __name__ == "__main__":
    main()
