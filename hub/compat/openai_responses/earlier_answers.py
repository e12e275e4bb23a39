"""Earlier answers in a request: `previous_response_id`, and `item_reference` in the input.

The ids of a response and of its items contain the generation's id, so nothing else is stored: while
the hub keeps a finished answer, its user can continue it. The next request then has the messages of
the earlier one without its instructions, the answer, and the new input. If the log has lost the
events of an answer, its record still has all of its parts. An answer with `store: false` cannot be
continued, except on the WebSocket that it was sent on.
"""

from __future__ import annotations

import re
from typing import Any, Final

from hub.api.generation_requests import prompt_too_large
from hub.compat.openai_responses.input_items import messages_without_instructions
from hub.compat.openai_responses.response_collector import ResponseCollector
from hub.core.event import encode_json
from hub.core.generation import Message
from hub.engine.generations.generations import Generations
from hub.error_codes import PREVIOUS_RESPONSE_NOT_FOUND, RESPONSE_NOT_FINISHED
from hub.errors import BadRequest, Conflict, Forbidden, NotFound

RESPONSE_PREFIX: Final = "resp_"
_ITEM_ID: Final = re.compile(r"[a-z]+_(.+)_\d+", re.DOTALL)

Item = dict[str, Any]


class _Answer:
    """A finished answer."""

    def __init__(self, collected: ResponseCollector) -> None:
        self.record = collected.record
        self.output = [item for item in collected.document()["output"] if _is_usable(item)]
        self._items = collected.items()

    def find(self, id_: str) -> Item | None:
        """Return the item, None for one that is gone."""
        item = self._items.get(id_)
        return item if item is not None and _is_usable(item) else None


class _KnownAnswers:
    """The answers that one request has named so far, by the ids of their generations.

    own: the only generation with `store: false` that may be named.
    """

    def __init__(self, user: str, own: str) -> None:
        self.user = user
        self.own = own
        self.answers: dict[str, _Answer] = {}


class EarlierAnswers:
    """Replaces what a request names by what it stands for.

    max_bytes: the size of all items that one request may name. A name is short, so the size of the
    request's body does not bound them.
    """

    def __init__(self, generations: Generations, *, max_bytes: int) -> None:
        self._generations = generations
        self._max_bytes = max_bytes

    async def resolve(
        self, raw: dict[str, Any], user: str, *, own: str = ""
    ) -> tuple[dict[str, Any], list[Message]]:
        """Return the body with the items of earlier answers in its input, and the messages that
        come before the input.

        own: the id of a response that may be continued although it has `store: false`.
        Raise BadRequest if an answer is gone or is another user's, Conflict if it has not ended,
        TooLarge.
        """
        known = _KnownAnswers(user, own.removeprefix(RESPONSE_PREFIX))
        named_bytes = 0
        given, name = raw.get("input"), raw.get("previous_response_id")
        items: list[Any] = [{"role": "user", "content": given}] if isinstance(given, str) else []
        for n, item in enumerate(given if isinstance(given, list) else []):
            if _is_reference(item):
                named = await self._find_item(item["id"], f"input[{n}].id", known)
                named_bytes += len(encode_json(named))
                if named_bytes > self._max_bytes:
                    raise prompt_too_large(self._max_bytes)
                items.append(named)
            else:
                items.append(item)
        if not isinstance(given, str | list) or not isinstance(name, str) or not name:
            return ({**raw, "input": items} if isinstance(given, list) else raw), []
        path = "previous_response_id"
        is_response = name.startswith(RESPONSE_PREFIX)
        generation = name.removeprefix(RESPONSE_PREFIX) if is_response else ""
        previous = await self._read(generation, name, path, known)
        return {**raw, "input": [*previous.output, *items]}, messages_without_instructions(
            previous.record
        )

    async def _find_item(self, id_: str, path: str, known: _KnownAnswers) -> Item:
        match = _ITEM_ID.fullmatch(id_)
        if match is None:
            raise _not_found(id_, path)
        answer = await self._read(match[1], id_, path, known)
        item = answer.find(id_)
        if item is None:
            raise _not_found(id_, path)
        return item

    async def _read(self, generation: str, name: str, path: str, known: _KnownAnswers) -> _Answer:
        """Return a finished answer. Raise as `resolve`."""
        if generation in known.answers:
            return known.answers[generation]
        try:
            replay = await self._generations.open_replay(generation, known.user)
        except (NotFound, Forbidden):
            raise _not_found(name, path) from None
        if replay.record.request.metadata.get("store") is False and generation != known.own:
            raise _not_found(name, path)
        collected = ResponseCollector(replay.record)
        async for event, data in self._generations.stored_events(replay):
            collected.feed(event, data)
            if collected.is_finished:
                break
        if not collected.is_finished:
            raise Conflict(
                f"the answer with {name!r} has not ended yet; wait for it",
                code=RESPONSE_NOT_FINISHED,
                path=path,
            )
        known.answers[generation] = answer = _Answer(collected)
        return answer


def _is_reference(item: Any) -> bool:
    """Return whether an item of the input names another one; its type may be left out."""
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        return False
    return item.get("type") == "item_reference" or {
        name for name, value in item.items() if value is not None
    } == {"id"}


def _is_usable(item: Item) -> bool:
    """Return whether an upstream accepts an item: no call that broke off."""
    is_text = item["type"] in ("message", "reasoning")
    return bool(is_text or item.get("status", "completed") == "completed")


def _not_found(name: str, path: str) -> BadRequest:
    return BadRequest(
        f"there is no finished answer with {name!r}; it may have expired: send the whole input",
        code=PREVIOUS_RESPONSE_NOT_FOUND,
        path=path,
    )
