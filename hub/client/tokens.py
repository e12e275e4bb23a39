"""The secret that a client shows: a fixed one, or one from a callable that gives fresh ones."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

Token = str | Callable[[], str | Awaitable[str]] | None
"""A user's JWT, or what gives one, asked at first and whenever the hub takes the last no longer.
White space around it is left out: a file that holds one ends with a line's end.
"""


class Tokens:
    """The token of now. What the callable raises reaches whoever needed the token."""

    def __init__(self, source: Token) -> None:
        self._source = source
        self._current = source.strip() if isinstance(source, str) else None
        self._asking = asyncio.Lock()

    @property
    def renewable(self) -> bool:
        """Whether there may be another one."""
        return callable(self._source)

    async def current(self) -> str | None:
        """The token, asked for if there is none; None where none is needed."""
        if self._current is None and callable(self._source):
            async with self._asking:  # many calls that begin at once ask once
                if self._current is None:
                    given = self._source()
                    token = await given if inspect.isawaitable(given) else given
                    self._current = token.strip()
        return self._current

    def void(self, token: str | None) -> None:
        """The hub takes this one no longer."""
        if self.renewable and self._current == token:
            self._current = None
