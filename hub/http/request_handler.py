"""Responses to requests that reach no route: not valid HTTP, too large, or with an expectation that
the hub does not support.

They are problem documents, and repeat nothing of the request, which may contain a token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import structlog
from aiohttp import hdrs, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from hub.http.body_coding import coding_of, remove_coding
from hub.http.dispatch import Dispatcher, HandleRequest
from hub.http.errors import problem_response
from hub.http.whole_responses import write_whole

_CONTINUE: Final = "100-continue"
_log = structlog.get_logger(__name__)


class HubRequestHandler(RequestHandler):
    """The protocol of one connection."""

    __slots__ = ("_max_header_bytes",)

    def __init__(self, manager: Any, **options: Any) -> None:
        super().__init__(manager, **options)
        self._max_header_bytes = options["max_field_size"]

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the response to a request that no route got, or that failed outside of it."""
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun; no other one can be sent")
        if status >= 500:
            _log.error("request.failed", error=type(exc).__name__, exc_info=exc)
            detail = "the hub could not handle this request; see its log"
        else:
            _log.info("request.malformed", error=type(exc).__name__)
            detail = "the request is not valid HTTP"
        if isinstance(exc, LineTooLong):
            # The parser says only which limit was exceeded; that of the URL is one byte larger.
            is_url = exc.args[1] == self._max_header_bytes + 1
            status, part = (414, "the URL") if is_url else (431, "a header of the request")
            detail = (
                f"{part} is larger than {self._max_header_bytes} bytes; the operator can raise the "
                "limit: public.max_header_bytes or internal.max_header_bytes"
            )
        response = problem_response(status, detail)
        response.force_close()
        return response

    async def finish_response(
        self, request: Any, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the response. Return it, and whether the client has disconnected."""
        try:
            if self._upgraded or not write_whole(request, resp):
                return await super().finish_response(request, resp, start_time)
            if self._paused:
                await self._drain_helper()
        except ConnectionError:
            return resp, True
        return resp, False

    def log_exception(self, *args: Any, **options: Any) -> None:
        """Log what aiohttp did not expect, but no body that the client has sent wrongly."""
        if not isinstance(options.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **options)


class _Server(web.Server):
    """Makes the protocols. An option that aiohttp does not know is a TypeError; aiohttp's own class
    would drop all options.
    """

    def __init__(self, handle: HandleRequest, **options: Any) -> None:
        super().__init__(handle, **options)

    def __call__(self) -> HubRequestHandler:
        return HubRequestHandler(self, loop=self._loop, **self._kwargs)


class HubRunner(web.AppRunner):
    """Runs an application with HubRequestHandler."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        dispatcher = Dispatcher(
            self.app, made.request_handler, cancels_handlers=made.handler_cancellation
        )
        server = _Server(
            _check_requests(dispatcher.handle),
            request_factory=_decode_bodies(made.request_factory),
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,
            **{**made._kwargs, "auto_decompress": False},
        )
        server()  # raises TypeError now, and not for each connection
        return server

    @property
    def request_handlers(self) -> list[HubRequestHandler]:
        """The open connections."""
        connections: Any = self.server.connections if self.server is not None else []
        return list(connections)


def _decode_bodies(make_request: Callable[..., Any]) -> Callable[..., Any]:
    """Return a factory whose requests have bodies without their content coding."""

    def make_decoded(message: Any, payload: Any, *others: Any) -> Any:
        if hdrs.CONTENT_ENCODING in message.headers:
            payload = remove_coding(payload, coding_of(message.headers))
        return make_request(message, payload, *others)

    return make_decoded


def _check_requests(handle: HandleRequest) -> HandleRequest:
    """Refuse what no route may get, before `handle` is called."""

    async def check_and_handle(request: Any) -> web.StreamResponse:
        if not _is_utf8(request.raw_path):
            # aiohttp would leave such bytes as they are in the path, and replace them in the query:
            # two different names could become the same one.
            return problem_response(400, "the URL is not valid UTF-8")
        expected = request.headers.get("Expect", _CONTINUE)
        if expected.lower() != _CONTINUE:  # RFC 9110, section 10.1.1
            response = problem_response(417, "the hub supports only Expect: 100-continue")
            response.force_close()
            return response
        return await handle(request)

    return check_and_handle


def _is_utf8(url: str) -> bool:
    """Return whether a URL is UTF-8 after percent-decoding."""
    if "%" not in url and url.isascii():
        return True
    try:
        unquote_to_bytes(url.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        return False
    return True
