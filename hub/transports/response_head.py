"""The head of a response as bytes.

It depends on the status and the headers, and a listener sends few different ones. So each is made
once by aiohttp's own code, which also refuses control characters, and kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from aiohttp import hdrs
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE
from aiohttp.http_writer import _serialize_headers
from multidict import CIMultiDict

_HEADS: Final = 256  # number of heads that are kept


@lru_cache(maxsize=_HEADS)
def encode_head(status_line: str, *headers: tuple[str, str]) -> bytes:
    """Return the head without its end and without the date, with the headers that aiohttp adds.

    Raise ValueError for a control character.
    """
    named = CIMultiDict(headers)
    named.setdefault(hdrs.CONTENT_TYPE, "application/octet-stream")
    named.setdefault(hdrs.SERVER, SERVER_SOFTWARE)
    return _serialize_headers(status_line, named).removesuffix(b"\r\n")


def encode_stream_head(status_line: str, *headers: tuple[str, str]) -> bytes:
    """Return the whole head of a stream.

    The heads of one second are one object, because thousands of them may wait for the first bytes
    of their streams (held_heads.py).
    """
    return _end_head(encode_head(status_line, *headers), encode_date())


@lru_cache(maxsize=_HEADS)
def _end_head(head: bytes, date: bytes) -> bytes:
    return b"%b%b\r\n" % (head, date)


def encode_date() -> bytes:
    """Return the header Date with the present second."""
    return f"Date: {rfc822_formatted_time()}\r\n".encode()
