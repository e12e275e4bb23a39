"""Reads the stream of an upstream, for an answer or for a function that asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar

import structlog

from hub.errors import UpstreamError

T = TypeVar("T")
_log = structlog.get_logger(__name__)


async def read_parts(stream: AsyncGenerator[Sequence[T], None], upstream: str) -> Sequence[T]:
    """Return the parts that arrived since the last read. Every failure becomes UpstreamError."""
    try:
        return await anext(stream)
    except UpstreamError:
        raise
    except StopAsyncIteration:
        message = "the upstream closed the stream before the answer was finished"
        raise UpstreamError("upstream_truncated", message, retryable=True) from None
    except Exception as error:  # a bug in an adapter fails one answer, not the worker
        _log.exception("upstream.adapter_failed", upstream=upstream)
        message = "the upstream's response could not be read"
        raise UpstreamError("upstream_protocol", message, retryable=False) from error
