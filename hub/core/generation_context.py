"""For whom an upstream answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hub.core.inputs import StoredInput


class GenerationContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an upstream may learn of a generation beside its request.

    user: who asked. attempt: counts from 1; every further attempt begins the answer anew. chat:
    the id of the user's conversation, None outside of one. metadata: JSON of the client that asked.
    earlier: what endpoints have stored with the newest answer of the same chat that has any: JSON
    by the name of the upstream. inputs: what the attempts before have asked people for, by key, and
    their answers. None if nobody can be asked, because the answer cannot be suspended.
    """

    user: str
    generation: str
    attempt: int
    chat: str | None = None
    metadata: Mapping[str, Any] = {}
    earlier: Mapping[str, bytes] = {}
    inputs: Mapping[str, StoredInput] | None = None
