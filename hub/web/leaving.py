"""Who leaves an answer that nobody else waits for stops it, also before its stream has begun."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

from hub.engine.connection import Connection
from hub.engine.generations import Generations
from hub.engine.supervise import Errands
from hub.ports import Created

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


class Leavers:
    """Those who may ask with `on_disconnect: stop`."""

    def __init__(self, generations: Generations) -> None:
        self._generations = generations
        self._errands = Errands()

    async def ask(self, asking: Coroutine[Any, Any, Created], user: str, *, stops: bool) -> Created:
        """What `asking` returns. stops: who leaves meanwhile stops what comes of it."""
        if not stops:
            return await asking

        def abandoned(created: Created) -> None:
            self._stop_later(created.generation, user)

        return await self._errands.finish("ask", asking, abandoned)

    def leaving(self, generation: str, user: str, *, stops: bool) -> Leaving[Any]:
        """Around the rest: see Leaving."""
        return Leaving(partial(self._stop_later, generation, user) if stops else None)

    def _stop_later(self, generation: str, user: str) -> None:
        self._errands.run("stop", self._stop(generation, user))

    async def _stop(self, generation: str, user: str) -> None:
        await self._generations.stop(generation, user)
