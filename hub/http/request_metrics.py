"""Counts what a listener answers: by route and status, and which limits refused."""

from __future__ import annotations

from typing import Literal

from aiohttp import web

from hub.engine.node_metrics import NodeMetrics
from hub.errors import CallerError, DependencyError, TooManyRequests
from hub.http.errors import Handler, route_name


class RequestMetrics:
    """Of one listener. A stream that began ends its handler with CancelledError and counts as a
    connection, not here.
    """

    def __init__(self, counts: NodeMetrics, listener: Literal["public", "internal"]) -> None:
        self._counts = counts
        self._listener = listener

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Stands inside `problems`, so that it sees errors as they were raised."""
        status = 0
        try:
            response = await handler(request)
            status = response.status
        except CallerError as error:
            status = error.status
            if isinstance(error, TooManyRequests):
                self._counts.refused[error.limit] += 1
            raise
        except DependencyError:
            status = 503
            raise
        except web.HTTPException as error:
            status = error.status
            raise
        except ConnectionError:
            status = 400
            raise
        except Exception:
            status = 500
            raise
        finally:
            if status:
                self._counts.responses[self._listener, route_name(request), str(status)] += 1
        return response
