"""Commands to all nodes, the denylist and the states of the nodes."""

from __future__ import annotations

from collections.abc import (
    Callable,
    Mapping,
    Sequence,
)
from typing import Protocol


class CommandBus(Protocol):
    """Commands to all nodes, and what nodes share. Raises BrokerUnavailable.

    Every single call is atomic; nothing spans two of them.
    """

    def listen(
        self, on_message: Callable[[bytes], None], on_resubscribed: Callable[[], None]
    ) -> None:
        """Add a listener.

        on_message: gets every command, also those of this process.
        on_resubscribed: called when commands are received again after a lost connection, because
            some may have been missed.
        """
        ...

    async def broadcast(self, message: bytes) -> None:
        """Send a command to every process that listens now. Nothing is stored."""
        ...

    async def block(self, subject: str, seconds: float) -> None:
        """Block a subject for some seconds from now; the later of two ends counts."""
        ...

    async def blocked(self) -> Mapping[str, float]:
        """Return the denylist: for how many more seconds each subject is blocked.

        Every time counts by the backend's clock, because those of two processes may differ.
        """
        ...

    async def put_node_state(self, node: str, state: bytes) -> None:
        """Store the state of a node. It expires half a minute after the last call of any node."""
        ...

    async def node_states(self) -> Sequence[tuple[bytes, float]]:
        """Return the last state of each node and its age in seconds by the backend's clock.

        Nodes that may have died are included.
        """
        ...

    async def remove_node_state(self, node: str) -> None:
        """Remove the state of a node that has ended."""
        ...

    async def run(self) -> None:
        """Receive commands until cancelled. Without this task nothing is received."""
        ...
