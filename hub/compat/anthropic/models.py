"""The list of models in the form of Anthropic's API, which has the same path as OpenAI's.

Source: docs.claude.com, "List models". A client of it names its version in a header.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web


def is_anthropic_client(request: web.Request) -> bool:
    """Return whether a request is one of a client of Anthropic's API."""
    return "anthropic-version" in request.headers


def model_list(names: Iterable[str]) -> dict[str, Any]:
    """Return all models as the only page of the list."""
    data = [model_info(name) for name in names]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": False, "first_id": first, "last_id": last}


def model_info(name: str) -> dict[str, Any]:
    """Return one model. The time of its release is unknown, which the API writes as the epoch."""
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
    }
