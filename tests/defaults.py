"""The components' values as the default settings give them, with the changes that a test needs.

The settings model is the only home of defaults, so that the components have none of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hub.api.tokens import KeySource, TokenIssuer, TokenReader
from hub.compat.templates.encoder import OutputTemplate
from hub.engine.worker.failover import Endpoint
from hub.settings.models import Envelope, Upstream
from hub.settings.models import OutputTemplate as OutputTemplateSettings
from hub.upstreams.envelope_reader import EnvelopeRules
from hub.upstreams.http.client import UpstreamTimeouts
from hub.upstreams.simulated.server import Simulation

UPSTREAM: Final = Upstream(base_url="http://127.0.0.1")


def upstream_timeouts(**changes: Any) -> UpstreamTimeouts:
    """Return the timeouts of an upstream."""
    timeouts = UpstreamTimeouts(
        connect_seconds=UPSTREAM.connect_seconds,
        first_byte_seconds=UPSTREAM.first_byte_seconds,
        idle_seconds=UPSTREAM.idle_seconds,
        total_seconds=UPSTREAM.total_seconds,
    )
    return msgspec.structs.replace(timeouts, **changes)


def endpoint(**fields: Any) -> Endpoint:
    """Return an endpoint that takes any model; `name`, `upstream` and `circuit` are required."""
    defaults = {
        "models": UPSTREAM.models,
        "default_model": UPSTREAM.default_model,
        "retries": UPSTREAM.retries,
        "max_retry_after_seconds": UPSTREAM.max_retry_after_seconds,
    }
    return Endpoint(**{**defaults, **fields})


def envelope_rules(**changes: Any) -> EnvelopeRules:
    """Return the rules of an upstream of kind `envelope`."""
    return EnvelopeRules(**{**Envelope().model_dump(), **changes})


def output_template(**changes: Any) -> OutputTemplate:
    """Return an output template."""
    return OutputTemplate(**{**OutputTemplateSettings().model_dump(), **changes})


def simulation(**changes: Any) -> Simulation:
    """Return how the simulated LLM answers, with the defaults of `hub upstream`."""
    defaults = Simulation(
        tokens_per_second=30.0, first_token_seconds=0.2, network_chunk_bytes=None, fault=None
    )
    return msgspec.structs.replace(defaults, **changes)


def token_reader(
    sources: Sequence[KeySource],
    *,
    audience: str | None = None,
    issuer: str | None = None,
    leeway_seconds: float = 0.0,
) -> TokenReader:
    """Return a reader that accepts no difference between the clocks."""
    from_settings = TokenIssuer(sources=sources, audience=audience, issuer=issuer)
    return TokenReader([from_settings], leeway_seconds=leeway_seconds)
