"""Functions of the application that produce answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from hub.core.durable import DurableState, PartOrCommand
from hub.core.generation import Generation


class Function(Protocol):
    """A function of the application.

    retries: how often it may be called again for one generation, after its process or worker was
    lost.
    """

    @property
    def retries(self) -> int: ...

    def stream(
        self, record: Generation, attempt: int, state: DurableState
    ) -> AsyncGenerator[Sequence[PartOrCommand], None]:
        """Call the function, and yield what it yields, several parts at a time.

        attempt: the number of this attempt. state: what earlier attempts have stored. A command is
        carried out before the next parts are requested. The last part is `Finished`. Closing the
        generator cancels the function and does not wait for it.
        Raise ProducerLost when its process was lost, UpstreamError when it failed; the parts that
        were yielded before it remain valid.
        """
        ...
