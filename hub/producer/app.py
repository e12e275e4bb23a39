"""An application's functions, and what they declare about themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

import msgspec

Function = TypeVar("Function", bound=Callable[..., Any])
_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
_declared: Final[dict[int, Producer]] = {}  # of all apps of this process, by id of the function


class Producer(msgspec.Struct, frozen=True, kw_only=True):
    """A function that produces answers. The options mean the same as in App.producer."""

    name: str
    call: Callable[..., Any]
    app: App
    retries: int = 0
    max_running: int | None = None
    timeout_seconds: float | None = None


class App:
    """A group of functions that share a state.

    lifespan: a function that returns an async context manager, such as one with the decorator
    `contextlib.asynccontextmanager`. It is entered once in each child process, before the first
    run; its value is `run.state`. It may have one parameter, which is this App.
    """

    def __init__(
        self, *, lifespan: Callable[..., AbstractAsyncContextManager[Any]] | None = None
    ) -> None:
        if lifespan is not None and not callable(lifespan):
            raise TypeError("lifespan must be a function that returns an async context manager")
        self._lifespan = lifespan
        self.producers: dict[str, Producer] = {}  # by name, in the order of their declaration

    def producer(
        self,
        no_function: None = None,
        /,
        *,
        retries: int = 0,
        max_running: int | None = None,
        timeout_seconds: float | None = None,
    ) -> Callable[[Function], Function]:
        """Declare a function with one parameter, `run`, that produces answers.

        retries: how often it may be called again after its process was lost. max_running: how many
        of its answers may run at a time, in all workers. timeout_seconds: the time that a run may
        take; None means any. The settings of the upstream override all three.
        Raise TypeError or ValueError for a declaration that is wrong.
        """
        if no_function is not None:
            raise TypeError("write @app.producer() with parentheses")
        _check_options(retries, max_running, timeout_seconds)

        def declare(function: Function) -> Function:
            name = _check_function(function)
            if name in self.producers:
                raise ValueError(f"the app has two functions named {name!r}")
            producer = self.producers[name] = Producer(
                name=name,
                call=function,
                app=self,
                retries=retries,
                max_running=max_running,
                timeout_seconds=timeout_seconds,
            )
            _declared[id(function)] = producer
            return function

        return declare

    def open_lifespan(self) -> AbstractAsyncContextManager[Any] | None:
        """Return the context manager of the lifespan, not entered yet; None without one."""
        if self._lifespan is None:
            return None
        takes_app = len(inspect.signature(self._lifespan).parameters) > 0
        return self._lifespan(self) if takes_app else self._lifespan()


def producer_of(function: Callable[..., Any]) -> Producer:
    """Return the declaration of a function; without one, it has the default options.

    Raise TypeError or ValueError if it cannot produce answers.
    """
    declared = _declared.get(id(function))
    if declared is not None:
        return declared
    return Producer(name=_check_function(function), call=function, app=App())


def _check_function(function: Any) -> str:
    """Return the name of a function. Raise TypeError or ValueError if it cannot produce answers."""
    if inspect.isclass(function) or not callable(function):
        raise TypeError(
            f"{function!r} is no function; write @app.producer() with parentheses above a function"
        )
    name = getattr(function, "__name__", type(function).__name__)
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"the name of the function {name!r} must have 1 to 64 letters (A to Z, a to z), digits "
            "and underscores, because it is the name of an upstream"
        )
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        raise TypeError(f"the function {name} must have one parameter: run") from None
    return name


def _check_options(retries: object, max_running: object, timeout_seconds: object) -> None:
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ValueError("retries must be a whole number from 0")
    if max_running is not None and (
        isinstance(max_running, bool) or not isinstance(max_running, int) or max_running < 1
    ):
        raise ValueError("max_running must be a whole number from 1, or None")
    if timeout_seconds is not None and (
        isinstance(timeout_seconds, bool)
        or not isinstance(timeout_seconds, int | float)
        or not timeout_seconds > 0
    ):
        raise ValueError("timeout_seconds must be a number above 0, or None")
