"""Calls that join their caller's trace: what a request's middleware does over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc

Join = Callable[[Mapping[str, str]], None]
"""Is told a call's metadata, before anything is done for it, in its own contextvars.Context (which
grpc.aio keeps for the whole call).
"""


class TraceInterceptor(grpc.aio.ServerInterceptor):
    """Tells `join` of each call."""

    def __init__(self, join: Join) -> None:
        self._join = join

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        metadata = handler_call_details.invocation_metadata or ()
        self._join({name: value for name, value in metadata if isinstance(value, str)})
        return await continuation(handler_call_details)
