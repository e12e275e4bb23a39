"""Bodies of requests without their content coding (gzip and deflate; RFC 9110, section 8.4.1).

aiohttp's own decoder takes a gzip body whose end is missing for a complete one. Here a body is
complete only if its coding says so. What arrived before a fault is readable.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

from aiohttp import StreamReader, hdrs, web

from hub.errors import BadRequest

CODINGS: Final = ("gzip", "deflate")
_CHUNK_BYTES: Final = (
    64 * 1024
)  # decoded at once: a small body can be very large when it is decoded
_GZIP_BITS: Final = 16 + zlib.MAX_WBITS
_ZLIB_METHOD: Final = 8  # the low half of the first byte of zlib's format


def remove_coding(payload: StreamReader, coding: str) -> Any:
    """Return the body of a request as one that can be read like a StreamReader.

    coding: the value of the header Content-Encoding, empty without one.
    """
    coding = coding.strip().lower()
    return DecodedBody(payload, coding) if coding in CODINGS else payload


def coding_of(headers: Any) -> str:
    """Return the header Content-Encoding of a request."""
    return str(headers.get(hdrs.CONTENT_ENCODING, ""))


def describe_fault() -> BadRequest:
    """Return the error for a body that raised RequestPayloadError."""
    return BadRequest(
        "the body is truncated, or not what its Content-Encoding or Transfer-Encoding says"
    )


class DecodedBody:
    """Has the methods of StreamReader that the hub and aiohttp's Request use.

    Each read raises RequestPayloadError when the body is not valid or ends too early.
    """

    def __init__(self, body: StreamReader, coding: str) -> None:
        self._body = body
        self._coding = coding
        self._decoder: Any = None  # None before the body, and between two members of gzip
        self._encoded = b""  # received, but not decoded yet
        self._is_complete = False  # of deflate, which has one member

    async def readany(self) -> bytes:
        """Return what can be read at once, at most 64 KiB; empty at the end of the body."""
        return await self.read(_CHUNK_BYTES)

    async def read(self, max_bytes: int) -> bytes:
        """Return up to max_bytes, empty at the end of the body. A cancelled call loses nothing."""
        while not (decoded := self._decode(max_bytes)):
            if not self._encoded:
                self._encoded = await self._body.readany()
            if not self._encoded:
                if self._decoder is not None:
                    raise web.RequestPayloadError("the body ends before its coding does")
                return b""
        return decoded

    def is_eof(self) -> bool:
        """Return whether the whole body has been received."""
        return self._body.is_eof()

    def at_eof(self) -> bool:
        """Return whether the whole body has been read."""
        return self._body.at_eof() and not self._encoded and self._decoder is None

    def set_read_chunk_size(self, size: int) -> None:
        """aiohttp calls this before it reads a whole body."""

    def set_exception(self, *error: Any) -> None:
        """Let each later read raise an error."""
        self._body.set_exception(*error)

    def _decode(self, max_bytes: int) -> bytes:
        """Return up to max_bytes of what has been received."""
        if self._decoder is None:
            if not self._encoded:
                return b""
            self._decoder = self._new_decoder()
        try:
            decoded: bytes = self._decoder.decompress(self._encoded, max_bytes)
        except zlib.error as error:
            raise web.RequestPayloadError("the body does not have its coding") from error
        self._encoded = self._decoder.unconsumed_tail
        if self._decoder.eof:
            self._encoded, self._decoder = self._decoder.unused_data, None
            self._is_complete = self._coding == "deflate"
        return decoded

    def _new_decoder(self) -> Any:
        if self._coding == "gzip":
            return zlib.decompressobj(_GZIP_BITS)
        if self._is_complete:
            raise web.RequestPayloadError("something follows the end of the body")
        is_raw = self._encoded[0] & 0xF != _ZLIB_METHOD  # some clients leave the header out
        return zlib.decompressobj(-zlib.MAX_WBITS if is_raw else zlib.MAX_WBITS)
