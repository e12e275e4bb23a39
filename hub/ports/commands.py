"""Administrative commands to all nodes, the denylist and the state of the nodes."""

from __future__ import annotations

from collections.abc import (
    Callable,
    Mapping,
    Sequence,
)
from typing import Protocol


class CommandBus(Protocol):
    """Orders that every node hears, and what is denied for a while. Raises BrokerUnavailable."""

    def listen(
        self, on_message: Callable[[bytes], None], on_resubscribed: Callable[[], None]
    ) -> None:
        """Who is told of orders, and that some may have been missed."""
        ...

    async def broadcast(self, message: bytes) -> None:
        """Tells every node that listens now."""
        ...

    async def block(self, subject: str, until: float) -> None:
        """Keeps it until then (Unix seconds)."""
        ...

    async def blocked(self) -> Mapping[str, float]:
        """All that is denied, and until when."""
        ...

    async def put_node_state(self, node: str, state: bytes) -> None:
        """The node lives; what it says of itself is kept for half a minute."""
        ...

    async def node_states(self) -> Sequence[bytes]:
        """What the nodes said last, also of some that may have died."""
        ...

    async def remove_node_state(self, node: str) -> None:
        """Forget the state of a node that has ended."""
        ...

    async def run(self) -> None:
        """Receive commands until cancelled. Without this task nothing is received."""
        ...
