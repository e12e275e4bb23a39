"""The durable half of a run: steps, checkpoints, and the beginning anew.

The worker stores results and checkpoints. The commands go the way of the parts (output.py), so they
never overtake what the function has yielded before.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from hub.core.durable import Command, Restart, Save, Store
from hub.core.json_depth import check_depth
from hub.core.parts import Part, StepEnd, StepStart

MAX_NAME_CHARS: Final = 256


class CommandBuffer(Protocol):
    """What takes parts and commands to the worker (output.py)."""

    async def put(self, value: object) -> None:
        """Add a part."""

    async def carry_out(self, command: Command, parts: Sequence[Part], what: str) -> None:
        """Add a command and parts behind it; return when the worker has carried it out.

        what: names the value of the command in an error.
        """


class DurableCalls:
    """What a function has stored in this run and in earlier ones.

    results: JSON by the name of the step. previous: the folded parts that the run continues.
    """

    def __init__(
        self,
        results: Mapping[str, msgspec.Raw],
        previous: Sequence[Mapping[str, Any]],
        buffer: CommandBuffer,
    ) -> None:
        self._results = results
        self._buffer = buffer
        self._names: set[str] = set()  # of the steps of this run
        self._shown = {  # the steps that readers have
            part["name"]: part["state"] for part in previous if part["type"] == "step"
        }

    async def begin(self, name: str, *, visible: bool) -> tuple[Any] | None:
        """Begin a step. Return its result in a tuple if it has one."""
        self._check_name(name)
        self._names.add(name)
        stored = self._results.get(name)
        state = self._shown.get(name)
        if visible and state is None:
            await self._buffer.put(StepStart(name))
        if stored is None:
            return None
        if visible and state != "done":
            await self._buffer.put(StepEnd(name))
        return (decode(stored),)

    async def finish(self, name: str, result: Any, *, visible: bool) -> Any:
        """Store the result of a step, and return it as a later run gets it."""
        what = f"the result of the step {name!r}"
        encoded = encode(result, what)
        parts = [StepEnd(name)] if visible else []
        await self._buffer.carry_out(Store(name, msgspec.Raw(encoded)), parts, what)
        return json.loads(encoded)

    async def save(self, value: Any, steering: int = 0) -> None:
        """Save a checkpoint. steering: the number of messages that the function has taken."""
        encoded = encode(value, "the checkpoint")
        await self._buffer.carry_out(Save(msgspec.Raw(encoded), steering), [], "the checkpoint")

    async def restart(self) -> None:
        """Discard the checkpoint and all parts so far."""
        await self._buffer.carry_out(Restart(), [], "")
        self._shown = {}

    def _check_name(self, name: object) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a step must be a str, not {type(name).__name__}")
        if not 1 <= len(name) <= MAX_NAME_CHARS or not _is_unicode(name):
            raise ValueError(f"the name of a step must have 1 to {MAX_NAME_CHARS} characters")
        if name in self._names:
            raise ValueError(
                f"the step {name!r} was called twice in one run: each needs a name of its own"
            )


async def call(function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Call a function: a synchronous one in a thread. Return its result, awaited."""
    is_async = inspect.iscoroutinefunction
    if is_async(function) or is_async(getattr(function, "__call__", None)):  # noqa: B004 - its type
        return await function(*args, **kwargs)

    def work() -> tuple[Any, BaseException | None]:
        try:
            return function(*args, **kwargs), None
        except BaseException as error:  # noqa: BLE001 - a future cannot hold every one
            return None, error

    result, error = await asyncio.to_thread(work)
    if error is not None:
        raise error
    return await result if inspect.isawaitable(result) else result


def decode(value: msgspec.Raw) -> Any:
    """Return the value of JSON."""
    return json.loads(bytes(value))


async def wait_for(result: Any) -> Any:
    """Return the result of an awaitable."""
    return await result


def encode(value: Any, what: str) -> bytes:
    """Return a value as JSON. Raise TypeError if it is none."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        encoded = text.encode()
        check_depth(encoded)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{what} is not JSON: {error}") from None
    return encoded


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
