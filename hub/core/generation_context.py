"""For whom an upstream answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from hub.core.inputs import InputAnswer


class GenerationContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an upstream may learn of a generation beside its request.

    user: who asked. attempt: counts from 1; every further attempt begins the answer anew. chat:
    the id of the user's conversation, None outside of one. metadata: JSON of the client that asked.
    earlier: what endpoints have stored with the newest answer of the same chat that has any: JSON
    by the name of the upstream. run: counts the requests of one attempt, if an agent asks people
    for decisions in between. wait_for_input: returns what becomes of the input with this key,
    after the upstream has asked for it (AskInput); None if nobody can be asked.
    """

    user: str
    generation: str
    attempt: int
    chat: str | None = None
    metadata: Mapping[str, Any] = {}
    earlier: Mapping[str, bytes] = {}
    run: int = 1
    wait_for_input: Callable[[str], Awaitable[InputAnswer]] | None = None
