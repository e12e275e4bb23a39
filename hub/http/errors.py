"""Errors as HTTP answers: application/problem+json (RFC 9457), one clear sentence each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web
from msgspec import UNSET, UnsetType

from hub.api.request_context import RequestContext
from hub.compat.openai_chat.encoder import error_document
from hub.errors import (
    BrokerUnavailable,
    CallbackUnavailable,
    CallerError,
    GenerationStillRunning,
    HubError,
    NodeBusy,
    TooManyRequests,
)

_RETRY_AFTER_SECONDS: Final = 1
OPENAI_PATHS: Final = "/v1/"
BROKER_UNAVAILABLE: Final = "the broker is away; try again"
_log = structlog.get_logger(__name__)

NOT_AGAIN: Final = {"x-should-retry": "false"}  # OpenAI's SDKs heed it

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Problem(msgspec.Struct, frozen=True):
    """What was wrong (RFC 9457), in one sentence. path: of the bad field, where there is one."""

    type: str
    title: str
    status: int
    detail: str
    path: str | UnsetType = UNSET


def problem_document(status: int, detail: str, path: str | None = None) -> dict[str, Any]:
    """A Problem as plain values."""
    title = HTTPStatus(status).phrase
    document = Problem("about:blank", title, status, detail, path or UNSET)
    plain: dict[str, Any] = msgspec.to_builtins(document)
    return plain


def problem_from_error(error: HubError) -> dict[str, Any]:
    """What the hub raised on purpose, as a problem document."""
    if isinstance(error, CallerError):
        return problem_document(error.status, error.detail, error.path)
    return problem_document(503, BROKER_UNAVAILABLE)


def problem_response(
    status: int,
    detail: str,
    *,
    path: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A problem document as an answer."""
    return web.Response(
        status=status,
        body=msgspec.json.encode(problem_document(status, detail, path)),
        headers={"Cache-Control": "no-store", **(headers or {})},
        content_type="application/problem+json",
    )


def is_openai_path(request: RequestContext) -> bool:
    """Whether its client knows nothing of the hub, and reads errors in OpenAI's form."""
    return request.path.startswith(OPENAI_PATHS)


def error_response(
    request: web.Request,
    status: int,
    detail: str,
    *,
    path: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """An error in the words of who asks."""
    if not is_openai_path(request):
        return problem_response(status, detail, path=path, headers=headers)
    return web.Response(
        status=status,
        body=msgspec.json.encode(error_document(status, detail, path=path)),
        headers={"Cache-Control": "no-store", **(headers or {})},
        content_type="application/json",
    )


@web.middleware
async def handle_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns what a handler raises into an answer."""
    try:
        return await handler(request)
    except CallerError as error:
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
        if isinstance(error, TooManyRequests):
            headers["Retry-After"] = str(error.retry_after_seconds)
        return error_response(request, error.status, error.detail, path=error.path, headers=headers)
    except BrokerUnavailable as error:
        _log.warning("request.broker_away", route=route_name(request), error=str(error))
        headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
        return error_response(request, 503, BROKER_UNAVAILABLE, headers=headers)
    except GenerationStillRunning as error:
        return error_response(request, 503, str(error), headers=NOT_AGAIN)
    except (CallbackUnavailable, NodeBusy) as error:
        headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
        return error_response(request, 503, str(error), headers=headers)
    except ConnectionError:
        return error_response(request, 400, "the client left before its request was whole")
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return error_response(
            request, error.status, _sentence(request, error), headers=_allow(error)
        )
    except Exception:  # noqa: BLE001 - the last resort: logged, and a 500
        _log.exception("request.failed", route=route_name(request))
        return error_response(request, 500, "the hub failed at this request; its log says how")


def _sentence(request: web.Request, error: web.HTTPException) -> str:
    if error.status == 404:
        return f"there is no route {request.path}"
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return f"{request.path} takes {allowed}, not {request.method}"
    return error.reason or HTTPStatus(error.status).phrase


def _allow(error: web.HTTPException) -> dict[str, str]:
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}


def route_name(request: web.Request) -> str:
    """The route's pattern, never the path itself: it may carry a user's id."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "unknown"
