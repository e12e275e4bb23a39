"""Implements `on_disconnect: stop`, also for clients that disconnect before the stream starts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Any

from hub.engine.generations.generations import Generations
from hub.engine.streams.connection import Connection
from hub.engine.tasks import BackgroundTasks
from hub.ports.generations import CreatedGeneration


class DisconnectGuard:
    """Stops a generation when its client disconnects, before the stream begins or later.

    Use it as `with guard:` around everything from the start of the generation to the stream. When
    the block ends and no connection is watched, the client has disconnected meanwhile. stop: what
    to call then; None lets the generation continue.
    """

    def __init__(self, stop: Callable[[], None] | None) -> None:
        self._stop = stop
        self._watching = False  # whether a connection stops the generation from now on

    def watch(self, connection: Connection) -> None:
        """Leave it to this connection to stop the generation when the client disconnects."""
        connection.on_client_disconnect = self._stop
        self._watching = True

    def __enter__(self) -> DisconnectGuard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stop is not None and not self._watching:
            self._stop()


class StopOnDisconnect:
    """Stops generations that were started with `on_disconnect: stop`."""

    def __init__(self, generations: Generations) -> None:
        self._generations = generations
        self._background_tasks = BackgroundTasks()

    async def start(
        self, start: Coroutine[Any, Any, CreatedGeneration], user: str, *, stops: bool
    ) -> CreatedGeneration:
        """Await `start` and return its result. It goes on if the client disconnects meanwhile, so
        that no generation exists without its job.

        stops: stop the generation then, as soon as it exists.
        """

        def on_abandoned(created: CreatedGeneration) -> None:
            if stops:
                self._stop_later(created.generation, user)

        return await self._background_tasks.finish("start generation", start, on_abandoned)

    def guard(self, generation: str, user: str, *, stops: bool) -> DisconnectGuard:
        """Return the guard of a generation that has started. stops: False for a guard that does
        nothing.
        """
        return DisconnectGuard(partial(self._stop_later, generation, user) if stops else None)

    def _stop_later(self, generation: str, user: str) -> None:
        self._background_tasks.run("stop generation", self._stop(generation, user))

    async def _stop(self, generation: str, user: str) -> None:
        await self._generations.stop(generation, user)
