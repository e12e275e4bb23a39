"""Log lines at the start of a process about settings that are valid and probably a mistake."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import structlog

from hub.settings import MIN_API_KEY_CHARS, Settings

_GENERATE_KEY: Final = "generate one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
_log = structlog.get_logger(__name__)


def warn_of_node(settings: Settings) -> None:
    """Log which upstream is the default by its place alone, and which API keys are short."""
    first, *others = settings.upstreams or [None]
    if others and settings.default_upstream is None:
        advice = "set default_upstream; without it, the first upstream in the settings is chosen"
        _log.warning("node.default_upstream", upstream=first, others=others, advice=advice)
    for n, key in enumerate(settings.auth.api_keys):
        if key.key is not None and len(key.key.get_secret_value()) < MIN_API_KEY_CHARS:
            _log.warning(
                "node.short_api_key",
                setting=f"auth.api_keys[{n}]",
                name=key.name,
                min_characters=MIN_API_KEY_CHARS,
                advice=_GENERATE_KEY,
            )


def warn_of_worker(settings: Settings, upstreams: Collection[str]) -> None:
    """Log that the worker has nothing to do. upstreams: those whose queues it reads."""
    if not upstreams and settings.outbox.dsn is None:
        _log.warning(
            "worker.no_upstreams",
            queues=settings.worker.queues,
            configured=sorted(settings.upstreams),
            advice="give the worker the same [upstreams] as the nodes, and their queues in "
            "worker.queues",
        )
