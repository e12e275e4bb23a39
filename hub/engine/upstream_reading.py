"""Reads the stream of an upstream, for an answer or for a function that asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import structlog

from hub.core.parts import Part
from hub.errors import UpstreamError

_log = structlog.get_logger(__name__)


async def read_parts(stream: AsyncGenerator[Sequence[Part], None], upstream: str) -> Sequence[Part]:
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
