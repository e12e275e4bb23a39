"""Guards: the application's checks of an answer before it is shown."""

from __future__ import annotations

from typing import Protocol

from hub.core.verdicts import GuardContext, TextWindow, Verdict


class GuardSession(Protocol):
    """The checks of one attempt of one answer, one at a time."""

    async def check(self, window: TextWindow) -> Verdict:
        """Ask the guard about a window, and return its verdict. Cancelling it ends the check.

        Raise GuardFailed.
        """
        ...

    def close(self) -> None:
        """End the session, and do not wait for a check that runs."""
        ...


class Guard(Protocol):
    """A guard of the application."""

    def open(self, context: GuardContext) -> GuardSession:
        """Return the session for one attempt. context: for whom the answer is."""
        ...
