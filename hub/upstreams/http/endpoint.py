"""The address of an upstream: its URL, its headers, and the requests that it accepts.

Invariant: a request is repeated only before the first byte of an answer, and only if the upstream
refused a field that the hub itself chose.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec
import structlog

from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.errors import UpstreamError
from hub.upstreams.dialect import Dialect, UpstreamRequest
from hub.upstreams.http.client import UpstreamTimeouts, send_notice, stream_response
from hub.upstreams.http.context_token import ContextSigner
from hub.upstreams.http.request_rules import RequestRules, find_refused_field
from hub.upstreams.reading.error_reports import secret_values

BuildRequest = Callable[[GenerationRequest, GenerationContext | None], UpstreamRequest]
_MAX_REPETITIONS: Final = 2
_MAX_MODELS: Final = 256  # whose refused fields are remembered
_log = structlog.get_logger(__name__)


class EndpointOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint is reached.

    base_url: the URL in front of the dialect's path; its query is kept. headers: sent with every
    request. rules: how its requests differ from those of its wire format. proxy: the URL of an
    HTTP proxy. verify_tls: whether the server's certificate is checked. signer: signs the header
    `Hub-Context`; None sends none.
    """

    base_url: str
    headers: Mapping[str, str]
    rules: RequestRules
    timeouts: UpstreamTimeouts
    proxy: str | None
    verify_tls: bool
    signer: ContextSigner | None = None


class HttpEndpoint:
    """Sends the requests of a dialect. secrets: the values that no error may show."""

    def __init__(
        self, session: aiohttp.ClientSession, dialect: Dialect, options: EndpointOptions
    ) -> None:
        self._session = session
        self._dialect = dialect
        self._options = options
        self._url = join_url(options.base_url, dialect.path)
        self._rules_by_model: dict[str, RequestRules] = {}  # with what this model refused
        self.secrets = secret_values(options.headers, options.base_url)

    async def send(
        self,
        request: GenerationRequest,
        context: GenerationContext | None = None,
        *,
        build: BuildRequest | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of the response. Raise UpstreamError.

        context: as in ports.upstreams. build: converts the request; None means as the dialect does.
        """
        options = self._options
        request = options.rules.apply_roles(request)
        rules = self._rules_by_model.get(request.model, options.rules)
        built = (build or self._dialect.build_request)(request, context)
        for repetition in range(_MAX_REPETITIONS + 1):
            sent = rules.apply(built)
            try:
                async with aclosing(self.open(sent, context)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except UpstreamError as error:
                refused = find_refused_field(error, sent.body)
                if refused is None or repetition == _MAX_REPETITIONS:
                    raise
                rules = self._remember(request, rules.merge(refused), error)

    def open(
        self,
        sent: UpstreamRequest,
        context: GenerationContext | None,
        *,
        total_seconds: float | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Return the chunks of the response to a request, which is sent as it is.

        total_seconds: until the end of the response; None means as the options say.
        """
        options, timeouts = self._options, self._options.timeouts
        if total_seconds is not None:
            timeouts = msgspec.structs.replace(timeouts, total_seconds=total_seconds)
        return stream_response(
            self._session,
            add_path(self._url, sent.below),
            sent,
            headers=self._build_headers(context),
            framing=self._dialect.framing,
            secrets=self.secrets,
            timeouts=timeouts,
            proxy=options.proxy,
            verify_tls=options.verify_tls,
        )

    async def notify(self, sent: UpstreamRequest, timeout_seconds: float) -> int:
        """Send a request, and return the status of its response.

        Raise aiohttp.ClientError, TimeoutError.
        """
        options = self._options
        return await send_notice(
            self._session,
            add_path(self._url, sent.below),
            sent,
            headers=options.headers,
            timeout_seconds=timeout_seconds,
            proxy=options.proxy,
            verify_tls=options.verify_tls,
        )

    @property
    def total_seconds(self) -> float | None:
        """How long an answer may take; None means any time."""
        return self._options.timeouts.total_seconds

    def _build_headers(self, context: GenerationContext | None) -> Mapping[str, str]:
        options = self._options
        if options.signer is None or context is None:
            return options.headers
        return {**options.headers, **options.signer.build_headers(context)}

    def _remember(
        self, request: GenerationRequest, rules: RequestRules, error: UpstreamError
    ) -> RequestRules:
        """Use these rules for further requests to the model of this one."""
        if len(self._rules_by_model) >= _MAX_MODELS:
            self._rules_by_model.clear()
        self._rules_by_model[request.model] = rules
        _log.info(
            "upstream.request_changed",
            upstream=request.upstream,
            model=request.model,
            omit=rules.omit,
            rename=dict(rules.rename),
            message=error.message,
        )
        return rules


def join_url(base_url: str, path: str) -> str:
    """Return the URL of a path below the base URL.

    The query of the base URL is kept: Azure needs `?api-version=`. A base URL that ends with the
    path already is not changed, nor is one for the empty path.
    """
    if not path:
        return base_url
    base, below = urlsplit(base_url), urlsplit(path)
    prefix = base.path.rstrip("/")
    full_path = prefix if below.path and prefix.endswith(below.path) else prefix + below.path
    query = "&".join(filter(None, (base.query, below.query)))
    return urlunsplit((base.scheme, base.netloc, full_path, query, ""))


def add_path(url: str, below: str) -> str:
    """Return the URL with more behind its path; its query is kept."""
    if not below:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path + below))
