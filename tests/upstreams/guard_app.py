"""Guards of an application, for the tests of the processes that run them."""

from __future__ import annotations

import os
import time
from typing import Any

from hub.guard import End, Replace, Window
from hub.testing.contracts.guards import obey, obey_or_wait

__all__ = ["obey", "obey_or_wait"]


def odd(window: Window) -> Any:
    """Return what is no verdict, or do what a guard must not do."""
    match window.text:
        case "text":
            return "a text"
        case "wrong":
            return Replace(7)  # type: ignore[arg-type]
        case "surrogate":
            return Replace("\ud800")
        case "surrogate error":
            raise ValueError("lone \ud800")
        case "code":
            return End("Not a code", "x")
        case "stop":
            raise StopIteration
        case "exit":
            raise SystemExit(1)
        case "crash":
            os._exit(1)
        case "pid":
            return Replace(str(os.getpid()))
        case _:
            return None


def blocks(window: Window) -> None:
    """Never return."""
    while window.text:
        time.sleep(0.01)


not_callable = 7


def without_parameter() -> None:
    pass
