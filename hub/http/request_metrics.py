"""Counts the responses of a listener by route and status, and the requests that a limit refused."""

from __future__ import annotations

from typing import Literal

from aiohttp import web

from hub.api.problems import describe_error
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.errors import CallerError, DependencyError, TooManyRequests
from hub.http.errors import Handler, route_name


class RequestMetrics:
    """The counters of one listener.

    A stream that has started ends its handler with CancelledError. It counts as a connection, not
    as a response.
    """

    def __init__(self, metrics: NodeMetrics, listener: Literal["public", "internal"]) -> None:
        self.node_metrics = metrics
        self._listener = listener

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count the response. It runs inside ErrorMiddleware, so it sees the original errors."""
        status = 0
        try:
            response = await handler(request)
            status = response.status
        except (CallerError, DependencyError) as error:
            status = describe_error(error).status
            if isinstance(error, TooManyRequests):
                self.node_metrics.refused[error.limit] += 1
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
                self.node_metrics.responses[self._listener, route_name(request), str(status)] += 1
        return response
