"""Errors as HTTP responses: application/problem+json (RFC 9457) with one sentence each.

Clients of other APIs expect errors in that API's form. hub/compat registers such a form for its
path prefix (ErrorFormat); the middleware here and the OpenAPI document follow it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from hub.api.problems import ErrorDescription, describe_error, problem_document
from hub.api.request_context import printable
from hub.error_codes import UNSUPPORTED_CONTENT_ENCODING, code_for_status
from hub.errors import BrokerUnavailable, CallerError, DependencyError
from hub.http.body_coding import CODINGS

PROBLEM_TYPE: Final = "application/problem+json"
NO_RETRY_HEADERS: Final = {"x-should-retry": "false"}  # OpenAI's SDKs respect it
_HEADERS: Final[Mapping[int, Mapping[str, str]]] = {
    401: {"WWW-Authenticate": "Bearer"},
    416: {"Accept-Ranges": "none"},
    426: {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
    503: NO_RETRY_HEADERS,
}
_log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ErrorFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The form of the errors of all routes under a path prefix.

    model: the type of the document, for OpenAPI. build: makes the document of a status, a sentence,
    the path of the invalid field (or None) and a code. status: returns the status that clients of
    the form get instead of the hub's. headers: returns the further headers of a document.
    """

    prefix: str
    content_type: str
    model: Any
    build: Callable[[int, str, str | None, str], Any]
    status: Callable[[int], int] = int
    headers: Callable[[Any], Mapping[str, str]] = lambda _: {}


class OtherListener(msgspec.Struct, frozen=True):
    """The application of the other listener of a node. name: `public` or `internal`."""

    name: str
    app: web.Application


OTHER_LISTENER: Final = web.AppKey("other_listener", OtherListener)


class ErrorMiddleware:
    """Turns the exceptions of handlers into responses.

    formats: the forms that differ from a problem document; the first one whose path prefix fits
    counts.
    """

    def __init__(self, formats: Sequence[ErrorFormat] = ()) -> None:
        self._formats = formats

    @web.middleware
    async def respond(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Call the handler; answer any exception but a cancellation."""
        try:
            return await handler(request)
        except (CallerError, DependencyError) as error:
            if isinstance(error, BrokerUnavailable):
                _log.warning(
                    "request.broker_unavailable", route=route_name(request), error=str(error)
                )
            description = describe_error(error)
            return self._response(
                request,
                description.status,
                description.detail,
                code=description.code,
                path=description.path,
                generation=description.generation,
                extra=description.extra,
                headers=_headers(description),
            )
        except ConnectionError:
            return self._response(request, 400, "the client disconnected before the request ended")
        except web.HTTPException as error:
            if error.status < 400:
                raise
            sentence = await _sentence(request, error)
            return self._response(request, error.status, sentence, headers=_allow(error))
        except Exception:  # noqa: BLE001 - the last resort: logged, and a 500
            _log.exception("request.failed", route=route_name(request))
            return self._response(
                request, 500, "the hub could not handle this request; see its log"
            )

    def _response(
        self,
        request: web.Request,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        path: str | None = None,
        generation: str | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        for each in self._formats:
            if request.path.startswith(each.prefix):
                document = each.build(status, detail, path, code or code_for_status(status).name)
                headers = {**(headers or {}), **each.headers(document)}
                return _error_response(each.status(status), document, each.content_type, headers)
        return problem_response(
            status,
            detail,
            code=code,
            path=path,
            generation=generation,
            extra=extra,
            headers=headers,
        )


def problem_response(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    path: str | None = None,
    generation: str | None = None,
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return a problem document as a response.

    code: the name of an ErrorCode; by default the one of the status. path: the invalid field.
    generation: as in Problem. extra: the fields that follow it there.
    """
    document = problem_document(status, detail, path, code, generation, extra=extra)
    return _error_response(status, document, PROBLEM_TYPE, headers)


def _error_response(
    status: int, document: Any, content_type: str, headers: Mapping[str, str] | None
) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(document),
        headers={"Cache-Control": "no-store", **(headers or {})},
        content_type=content_type,
    )


def _headers(error: ErrorDescription) -> Mapping[str, str]:
    if error.retry_after_seconds is not None:
        return {"Retry-After": str(error.retry_after_seconds)}
    if error.code == UNSUPPORTED_CONTENT_ENCODING.name:
        return {"Accept-Encoding": ", ".join(CODINGS)}
    return _HEADERS.get(error.status, {})


async def _sentence(request: web.Request, error: web.HTTPException) -> str:
    if error.status == 404:
        return f"there is no route {printable(request.path)}{await _other_listener(request)}"
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return f"{request.path} accepts {allowed}, not {request.method}"
    return error.reason or HTTPStatus(error.status).phrase


async def _other_listener(request: web.Request) -> str:
    """Return the end of a sentence that names the other listener if it has the route."""
    other = request.app.get(OTHER_LISTENER)
    if other is None or (await other.app.router.resolve(request)).http_exception is not None:
        return ""
    return f" on this listener: send it to the {other.name} listener ({other.name}.port)"


def _allow(error: web.HTTPException) -> dict[str, str]:
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}


def route_name(request: web.Request) -> str:
    """Return the pattern of the route, for logs and metrics: the path may contain a user id."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "unknown"
