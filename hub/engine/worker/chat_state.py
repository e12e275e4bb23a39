"""What endpoints have stored with the earlier answers of a chat.

An agent keeps the conversation of a context of its own. The name of the context is in the resume
points of its answers, which the records keep (core/durable.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hub.core.generation import Generation
from hub.core.journal_entries import read_durable_state
from hub.engine.worker.resumable import read_checkpoint
from hub.ports.generations import GenerationFilter, GenerationStore

_MAX_ANSWERS: Final = 10  # that are looked at, from the newest one on


async def find_chat_state(store: GenerationStore, record: Generation) -> Mapping[str, bytes]:
    """Return what the newest answer of the chat before this one has stored: JSON by endpoint.

    Only answers of the same upstream in the same channel count, and of the same user. Empty outside
    of a chat, and if there is none. Raise BrokerUnavailable.
    """
    chat = record.request.chat
    if chat is None:
        return {}
    which = GenerationFilter(limit=_MAX_ANSWERS, chat=chat, before=record.id)
    for summary in await store.list_of_user(record.user, which):
        if summary.topic != record.request.topic or summary.upstream != record.request.upstream:
            continue
        earlier = await store.find(summary.id)
        if earlier is None:
            continue
        endpoint, point = read_checkpoint(read_durable_state(earlier.journal).checkpoint)
        if point is not None:
            return {endpoint: point.value}
    return {}
