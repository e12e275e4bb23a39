"""Streams of dialects that end when the answer asks a person: the client sends the value with a new
request, whose stream continues behind the input.

The AI SDK and AG-UI do so. The other dialects have no such request; their streams wait.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from hub.compat.answer_encoder import AnswerEncoderBase
from hub.core.generation import Generation, partition_of_generation
from hub.core.inputs import INPUT_RECEIVED, INPUT_REQUESTED
from hub.engine.generations.generations import Generations
from hub.engine.generations.inputs import Inputs
from hub.error_codes import ENDED, INPUT_EXPIRED, INPUT_UNKNOWN
from hub.errors import Conflict, NotFound


class PausingEncoder(AnswerEncoderBase):
    """An encoder whose stream ends at the first input that still waits for a value.

    behind: the key of the input behind which the stream begins; None for a stream from the start.
    """

    def __init__(self, record: Generation, behind: str | None = None) -> None:
        super().__init__(record)
        # Nothing waits once the answer has ended, nor where the stream begins: the client has
        # decided that input, although the answer may have ended before.
        self._decided = {behind} | {
            key
            for key, each in record.inputs.items()
            if each.answer is not None or record.status.ended
        }
        self._behind = behind

    def start(self) -> Sequence[bytes]:
        return super().start() if self._behind is None else ()

    def feed(self, name: str, data: bytes) -> Sequence[bytes]:
        chunks = super().feed(name, data)
        if self._behind is None:
            return chunks
        if name == INPUT_REQUESTED and msgspec.json.decode(data)["input"] == self._behind:
            self._behind = None
            return [*self.on_resume()]
        if self.is_finished:  # the client gets at least the end
            return [*self.on_resume(), *chunks]
        return ()

    def _encode(self, name: str, data: bytes) -> Iterator[bytes]:
        if name == INPUT_REQUESTED:
            return self._encode_request(msgspec.json.decode(data))
        if name == INPUT_RECEIVED:
            return self.on_input_received(msgspec.json.decode(data))
        return super()._encode(name, data)

    def _encode_request(self, request: dict[str, Any]) -> Iterator[bytes]:
        self.answer.count_part(request.get("i"))
        yield from self.on_input_requested(request)
        if request["input"] not in self._decided:
            self.is_finished = True
            yield from self.on_pause(request)

    @abstractmethod
    def on_input_requested(self, request: dict[str, Any]) -> Iterator[bytes]:
        """Encode the request of an input: the data of its event."""

    @abstractmethod
    def on_input_received(self, received: dict[str, Any]) -> Iterator[bytes]:
        """Encode the value of an input: the data of its event."""

    @abstractmethod
    def on_pause(self, request: dict[str, Any]) -> Iterator[bytes]:
        """Encode the end of the stream before the end of the answer."""

    @abstractmethod
    def on_resume(self) -> Iterator[bytes]:
        """Encode the beginning of a stream behind an input. The chunks before it were not sent."""


def input_id(generation: str, request: dict[str, Any]) -> str:
    """Return an id of an input that says to which answer it belongs."""
    return f"{generation}/{request['input']}"


def read_input_id(given: Any) -> tuple[str, str] | None:
    """Return the generation and the key of an id of `input_id`, None for any other value."""
    if not isinstance(given, str):
        return None
    generation, separator, key = given.partition("/")
    is_known = bool(separator and key) and partition_of_generation(generation) is not None
    return (generation, key) if is_known else None


class Decision(NamedTuple):
    """What a client answers to an input.

    value: a boolean approves or refuses. is_cancelled: the client gives no value: of two options
    the second one counts, otherwise the answer is stopped.
    """

    generation: str
    key: str
    value: Any
    is_cancelled: bool = False


class InputDecisions:
    """Gives the values of inputs that the clients of these dialects have decided."""

    def __init__(self, inputs: Inputs, generations: Generations) -> None:
        self._inputs = inputs
        self._generations = generations

    async def give(self, decisions: Sequence[Decision], user: str) -> Decision | None:
        """Give the values of one answer, and return the last one, behind which its stream begins.

        An input that has expired, or whose answer has ended, is passed over: the stream says so.
        Return None if there are no decisions, or the answer is not kept any more. Raise Forbidden,
        NotFound for an input for which the answer has not asked, BadRequest for a value that the
        request does not allow, Conflict if another one counts, BrokerUnavailable.
        """
        for decision in decisions:
            try:
                await self._give(decision, user)
            except NotFound as error:
                if error.code == INPUT_UNKNOWN.name:
                    raise
                return None
            except Conflict as error:
                if error.code not in (ENDED.name, INPUT_EXPIRED.name):
                    raise
        return decisions[-1] if decisions else None

    async def _give(self, decision: Decision, user: str) -> None:
        record = await self._generations.find(decision.generation, user)
        stored = record.inputs.get(decision.key)
        options = (stored.request.options if stored is not None else None) or ()
        value = decision.value
        if len(options) == 2 and isinstance(value, bool):
            value = options[0 if value else 1]
        elif decision.is_cancelled and stored is not None and stored.answer is None:
            await self._generations.stop(decision.generation, user)
            return
        await self._inputs.answer(decision.generation, decision.key, value, user)
