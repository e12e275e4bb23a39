"""Who leaves an answer that nobody else waits for stops it, also before its stream has begun."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from hub.engine.connection import Connection

C = TypeVar("C", bound=Connection)


class Leaving(Generic[C]):
    """`with Leaving(stop) as leaving:` around all from the question to the stream, whose connection
    `leaving.made_by(make)` makes. stop: what to do then; None to let the answer go on.
    """

    def __init__(self, stop: Callable[[], None] | None) -> None:
        self._stop = stop
        self._begun = False

    def made_by(self, make: Callable[..., C]) -> Callable[..., C]:
        """The same, and from then on the connection knows when the client leaves."""

        def made(name: str, **parts: Any) -> C:
            connection = make(name, on_left=self._stop, **parts)
            self._begun = True
            return connection

        return made

    def __enter__(self) -> Leaving[C]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stop is not None and not self._begun:
            self._stop()
