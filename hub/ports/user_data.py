"""What the hub keeps about a user, for its erasure and its export."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol


class UserData(Protocol):
    """One kind of data about users. wiring/user_data.py lists all kinds.

    name: the member of the export that has this kind.
    """

    @property
    def name(self) -> str: ...

    async def erase(self, user: str) -> None:
        """Erase what is kept about a user; a second call changes nothing. Raise BrokerUnavailable.

        The caller has stopped the user's answers.
        """
        ...

    def export(self, user: str) -> AsyncIterator[bytes]:
        """Yield what is kept about a user, one JSON text for each item, without holding all of it.

        Raise BrokerUnavailable.
        """
        ...
