"""Who leaves an answer that nobody else waits for stops it, also before its stream has begun."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

from hub.engine.connection import Connection
from hub.engine.generations import Generations
from hub.engine.tasks import BackgroundTasks
from hub.ports.generations import CreatedGeneration

C = TypeVar("C", bound=Connection)


class DisconnectGuard(Generic[C]):
    """`with Leaving(stop) as leaving:` around all from the question to the stream, whose connection
    `leaving.made_by(make)` makes. stop: what to do then; None to let the answer go on.
    """

    def __init__(self, stop: Callable[[], None] | None) -> None:
        self._stop = stop
        self._started = False

    def made_by(self, make: Callable[..., C]) -> Callable[..., C]:
        """The same, and from then on the connection knows when the client leaves."""

        def made(name: str, **parts: Any) -> C:
            connection = make(name, on_disconnect=self._stop, **parts)
            self._started = True
            return connection

        return made

    def __enter__(self) -> DisconnectGuard[C]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stop is not None and not self._started:
            self._stop()


class StopOnDisconnect:
    """Those who may ask with `on_disconnect: stop`."""

    def __init__(self, generations: Generations) -> None:
        self._generations = generations
        self._background_tasks = BackgroundTasks()

    async def start(
        self, asking: Coroutine[Any, Any, CreatedGeneration], user: str, *, stops: bool
    ) -> CreatedGeneration:
        """What `asking` returns. stops: who leaves meanwhile stops what comes of it."""
        if not stops:
            return await asking

        def abandoned(created: CreatedGeneration) -> None:
            self._stop_later(created.generation, user)

        return await self._background_tasks.finish("ask", asking, abandoned)

    def guard(self, generation: str, user: str, *, stops: bool) -> DisconnectGuard[Any]:
        """Around the rest: see Leaving."""
        return DisconnectGuard(partial(self._stop_later, generation, user) if stops else None)

    def _stop_later(self, generation: str, user: str) -> None:
        self._background_tasks.run("stop", self._stop(generation, user))

    async def _stop(self, generation: str, user: str) -> None:
        await self._generations.stop(generation, user)
