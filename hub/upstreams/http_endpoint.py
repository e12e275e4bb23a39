"""The address of an upstream: its URL, its headers, and the requests that it accepts.

Invariant: a request is repeated only before the first byte of an answer, and only if the upstream
refused a field that the hub itself chose.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec
import structlog

from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.errors import UpstreamError
from hub.upstreams.context_token import ContextSigner
from hub.upstreams.dialect import Dialect
from hub.upstreams.error_reports import secret_values
from hub.upstreams.http_client import UpstreamTimeouts, stream_response
from hub.upstreams.request_rules import RequestRules, find_refused_field

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
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of the response. context: as in ports.Upstream. Raise UpstreamError."""
        options = self._options
        request = options.rules.apply_roles(request)
        rules = self._rules_by_model.get(request.model, options.rules)
        built = self._dialect.build_request(request, context)
        for repetition in range(_MAX_REPETITIONS + 1):
            sent = rules.apply(built)
            chunks = stream_response(
                self._session,
                self._url,
                sent,
                headers=self._build_headers(context),
                framing=self._dialect.framing,
                secrets=self.secrets,
                timeouts=options.timeouts,
                proxy=options.proxy,
                verify_tls=options.verify_tls,
            )
            try:
                async with aclosing(chunks):
                    async for chunk in chunks:
                        yield chunk
                return
            except UpstreamError as error:
                refused = find_refused_field(error, sent.body)
                if refused is None or repetition == _MAX_REPETITIONS:
                    raise
                rules = self._remember(request, rules.merge(refused), error)

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
