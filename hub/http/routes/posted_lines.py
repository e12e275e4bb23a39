"""The lines of NDJSON in a request's body, as a source of parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import StreamReader, web

from hub.http.body_coding import describe_fault

_READ_BYTES: Final = 64 * 1024  # a compressed body may consist of millions of empty lines


class LineSource:
    """Implements PartSource. max_line_bytes: a longer line is passed on before it has ended, to be
    refused.
    """

    renews_always: Final = False

    def __init__(self, content: StreamReader, *, max_line_bytes: int) -> None:
        self._content = content
        self._max_line_bytes = max_line_bytes
        self._rest = b""  # of the line whose end has not arrived yet

    async def read(self) -> Sequence[bytes] | None:
        """Return the lines that have ended, without empty ones; None at the end of the body."""
        try:
            data = await self._content.read(_READ_BYTES)
        except web.RequestPayloadError as error:
            raise describe_fault() from error
        if data:
            *lines, self._rest = (self._rest + data).split(b"\n")
            if self._is_too_long(self._rest):
                lines.append(self._rest)
        elif self._rest:
            lines, self._rest = [self._rest], b""  # the last line may lack its end
        else:
            return None
        return [line for line in lines if line.strip() or self._is_too_long(line)]

    def _is_too_long(self, line: bytes) -> bool:
        return len(line) > self._max_line_bytes
