"""What a function yields, checked, and kept until the worker asks for it.

Rules:
1. A value that is no part fails the run. The worker can rely on the types of all parts.
2. The buffer is bounded: a function that yields faster than the worker publishes waits at its
   `yield`. A long text is split, so it waits inside it.
3. A function that never waits lets the other runs of its process continue.
4. Commands (core/durable.py) are among the parts. The worker asks for more when it has published
   all that it got, so with its next `pull` the commands of the message before it are carried out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.core.call_ids import CallIds
from hub.core.durable import AskInput, Command, PartOrCommand, Restart, Save, Store
from hub.core.json_depth import check_depth
from hub.core.parts import File, Finished, Part, Reasoning, Text, ToolCallDelta
from hub.core.tool_calls import ToolCallAssembler
from hub.producer.failures import Stopped
from hub.producer.protocol import End

MAX_BUFFERED_BYTES: Final = 64 * 1024
_MAX_PARTS_IN_A_ROW: Final = 256  # without a pause for the other runs
_CHUNK_CHARS: Final = 16 * 1024
_decode_part: Final = msgspec.json.Decoder(Part).decode


class InvalidPart(Exception):
    """The function yielded something that is no part. The message is for the log."""


class PartTooLarge(ValueError):
    """A part, a result or a checkpoint that no answer can hold. The message is for the client."""


class OutputBuffer:
    """The parts of one run between its function and the worker.

    max_part_bytes: a part with more cannot be in any answer. send: called with parts, and with the
    end after the last ones.
    """

    def __init__(
        self, max_part_bytes: int, send: Callable[[list[PartOrCommand], End | None], None]
    ) -> None:
        self._max_part_bytes = max_part_bytes
        self._send = send
        self._parts: list[PartOrCommand] = []
        self._bytes = 0
        self._parts_in_a_row = 0
        self._end: End | None = None
        self._is_wanted = False  # whether the worker waits for parts
        self._is_stopped = False
        self._waiting: list[asyncio.Future[None]] = []  # calls of `put` that wait; tasks overlap
        self._unsent_commands: list[asyncio.Future[None]] = []
        self._sent_commands: list[asyncio.Future[None]] = []
        self._calls = ToolCallAssembler(has_whole_names=True)
        self._call_ids = CallIds()
        self._loop = asyncio.get_running_loop()
        # Of a thread, not added yet: texts, and other parts with their sizes.
        self._thread_parts: deque[str | tuple[Part, int]] = deque()
        self._thread_bytes = 0  # of all parts of a thread; only the thread changes it
        self._taken_bytes = 0  # of those that were added; only the event loop changes it
        self._is_woken = False  # whether the event loop is about to add them

    def continue_after(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Let no tool call have the id of one of these folded parts, which the answer has."""
        self._call_ids = CallIds(parts)

    @property
    def is_full(self) -> bool:
        """Whether the function must wait until the worker has taken the parts."""
        return self._bytes + self._thread_bytes - self._taken_bytes >= MAX_BUFFERED_BYTES

    async def put(self, value: object) -> None:
        """Add what a function yields; return when it may go on.

        Raise InvalidPart, PartTooLarge, and Stopped after `stop`.
        """
        self._take_thread_parts()
        for part, size in self.read(value):
            if self._is_stopped:
                raise Stopped
            self.add(part, size)
            self._parts_in_a_row += 1
            if self.is_full:
                await self._wait_until_taken()
            elif self._parts_in_a_row >= _MAX_PARTS_IN_A_ROW:
                self._parts_in_a_row = 0
                await asyncio.sleep(0)

    async def carry_out(self, command: Command, parts: Sequence[Part], what: str) -> None:
        """See producer.steps.CommandBuffer. Raise PartTooLarge, and Stopped after `stop`."""
        if self._is_stopped:
            raise Stopped
        size = len(command.value) if isinstance(command, Store | Save) else 0
        self._check_size(size, what)
        if isinstance(command, Restart):
            self._calls, self._call_ids = ToolCallAssembler(has_whole_names=True), CallIds()
        self._take_thread_parts()
        done = self._loop.create_future()
        self._unsent_commands.append(done)
        for each in (command, *parts):
            self.add(each, size)
        await done

    def suspend(self, command: AskInput) -> None:
        """Add the command that ends the attempt. Raise PartTooLarge."""
        assert command.save is not None
        self._check_size(len(command.save.value), "the state")
        self._finish_calls()
        self.add(command, len(command.save.value))

    def finish(self, end: End) -> None:
        """Add the end; nothing follows it."""
        if not end.code:
            self._finish_calls()
        self._take_thread_parts()
        self._end = end
        self._send_wanted()

    def _finish_calls(self) -> None:
        self._take_thread_parts()
        if calls := self._calls.finish():
            self.add(self._call_ids.replace(ToolCallDelta(calls)), 0)

    def _check_size(self, size: int, what: str) -> None:
        if size > self._max_part_bytes:
            raise PartTooLarge(
                f"{what} has {size} bytes; the limit of an answer is {self._max_part_bytes} bytes "
                "(generations.max_record_bytes)"
            )

    def pull(self) -> None:
        """Send what there is, or the next part as soon as there is one."""
        _resolve(self._sent_commands)
        self._is_wanted = True
        self._take_thread_parts()
        self._send_wanted()

    def _send_wanted(self) -> None:
        if not self._is_wanted or (not self._parts and self._end is None):
            return
        self._is_wanted = False
        self._sent_commands, self._unsent_commands = self._unsent_commands, []
        parts, self._parts, self._bytes = self._parts, [], 0
        self._parts_in_a_row = 0
        self._send(parts, self._end)
        _resolve(self._waiting)
        if self._end is not None:
            self.stop()  # a task that the function has left behind does not wait for ever

    def stop(self) -> None:
        """Refuse everything from now on."""
        self._is_stopped = True
        self._is_wanted = False
        for each in (*self._sent_commands, *self._unsent_commands, *self._waiting):
            if not each.done():
                each.set_exception(Stopped())

    async def _wait_until_taken(self) -> None:
        taken = asyncio.get_running_loop().create_future()
        self._waiting.append(taken)
        await taken

    def add_from_thread(self, value: object) -> None:
        """Add what a function yields in another thread. Raise InvalidPart, PartTooLarge.

        It wakes the event loop only if the worker waits for parts; otherwise the next call adds
        them, all texts at once.
        """
        if type(value) is str and len(value) <= _CHUNK_CHARS and value.isascii():  # nearly always
            self._thread_bytes += len(value)
            self._thread_parts.append(value)
        else:
            for part, size in self.read(value):
                self._thread_bytes += size
                self._thread_parts.append((part, size))
        if self._is_wanted and not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._take_thread_parts)

    def _take_thread_parts(self) -> None:
        self._is_woken = False
        texts: list[str] = []
        while self._thread_parts:
            each = self._thread_parts.popleft()
            if isinstance(each, str):
                texts.append(each)
            else:
                self._add_texts(texts)
                self._add_taken(*each)
        self._add_texts(texts)

    def _add_texts(self, texts: list[str]) -> None:
        if texts:
            text = "".join(texts)
            texts.clear()
            self._add_taken(Text(text), len(text))

    def _add_taken(self, part: Part, size: int) -> None:
        self._taken_bytes += size
        self.add(part, size)

    def add(self, part: PartOrCommand, size: int) -> None:
        """Add a part of `read`; drop it after `stop`."""
        if self._is_stopped:
            return
        if self._is_wanted and not self._parts:
            # The parts that the function yields before it waits go into the same message.
            asyncio.get_running_loop().call_soon(self._send_wanted)
        last = self._parts[-1] if self._parts else None
        if type(part) is Text and type(last) is Text:
            self._parts[-1] = Text(last.text + part.text)
        else:
            self._parts.append(part)
        self._bytes += size

    def read(self, value: object) -> Iterator[tuple[Part, int]]:
        """Yield the parts of a value with their sizes, approximately in bytes.

        Raise InvalidPart, PartTooLarge. One thread at a time may call it.
        """
        if type(value) is str:
            text = value if value.isascii() else _replace_surrogates(value)
            if len(text) <= _CHUNK_CHARS:
                yield Text(text), len(text)
            else:
                yield from _split(text, Text)
            return
        part, size = _check(value)
        match part:
            case Text(text) | Reasoning(text):
                yield from _split(text, type(part))
            case _ if size > self._max_part_bytes:
                raise PartTooLarge(
                    f"a part of the answer has {size} bytes; the limit of an answer is "
                    f"{self._max_part_bytes} bytes (generations.max_record_bytes)"
                )
            case ToolCallDelta(calls):
                yield self._call_ids.replace(ToolCallDelta(self._calls.feed(calls))), size
            case _:
                yield self._call_ids.replace(part), size


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    for each in futures:
        if not each.done():
            each.set_result(None)
    futures.clear()


def _check(value: Any) -> tuple[Part, int]:
    """Return a value as a part with correct types, and the size of its JSON."""
    if isinstance(value, str):  # a subclass of str
        value = Text(str(value))
    if not isinstance(value, Part) or isinstance(value, Finished):
        kind = type(value).__name__
        raise InvalidPart(
            f"the function yielded a value of the type {kind}, which is no part: yield a str or a "
            "part of hub.producer"
        )
    name = type(value).__name__
    for field in value.__struct_fields__:
        if isinstance(getattr(value, field), bytes | bytearray | memoryview):  # JSON: base64
            raise InvalidPart(f"the function yielded {name} with bytes in {field}; it must be text")
    try:
        encoded = msgspec.json.encode(value)
        check_depth(encoded)
        part: Part = _decode_part(encoded)
    except UnicodeEncodeError:
        raise InvalidPart(f"the function yielded {name} with a text that is no Unicode") from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidPart(f"the function yielded {name} with a wrong value: {error}") from None
    if isinstance(part, File) and (part.url is None) is (part.data is None):
        raise InvalidPart("the function yielded File, which needs exactly one of url and data")
    return part, len(encoded)


def _split(text: str, kind: type[Text] | type[Reasoning]) -> Iterator[tuple[Part, int]]:
    for start in range(0, len(text), _CHUNK_CHARS):
        chunk = text[start : start + _CHUNK_CHARS]
        yield kind(chunk), len(chunk)


def _replace_surrogates(text: str) -> str:
    """Return a text that UTF-8 can express: pairs joined, lone surrogates as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
