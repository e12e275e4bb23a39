"""The Python client: the same names as in `hub_client`, which can also be installed alone.

A name is imported from there when it is first used, because some names need aiohttp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hub_client
from hub_client import __all__ as __all__

if TYPE_CHECKING:
    from hub_client import *  # noqa: F403 - the type checker knows each name


def __getattr__(name: str) -> Any:
    """Return a name of the client."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(hub_client, name)
