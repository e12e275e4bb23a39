"""The protocol between a worker and a child process that runs functions.

Both ends hold one stream socket. A frame is its length in 4 bytes and a JSON array: the messages
that one end sends within one iteration of its event loop. The child sends the parts of a run only
when the worker has asked for them (`Pull`), so the worker never holds more of a run than one
message, and the child stops a function whose buffer is full. An upstream that a function asks is
read in the same way (`AskMore`): the worker has the API keys, and never more of an answer than one
message.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from hub.core.durable import PartOrCommand
from hub.core.parts import Part
from hub.producer.answer import AnswerEnd, AskRequest
from hub.producer.failures import UpstreamReport
from hub.producer.run import Notification, RunContext

Received = TypeVar("Received")
_HEADER_BYTES: Final = 4


class _Message(msgspec.Struct, frozen=True, tag_field="kind", omit_defaults=True):
    """Base class of the messages. run: the number of the run in its child process."""


# From the worker.


class Start(_Message, frozen=True):
    """Call the function of this name."""

    run: int
    function: str
    context: RunContext


class Pull(_Message, frozen=True):
    """Send the parts of the run that there are, or the next ones. The answer is one Output."""

    run: int


class Cancel(_Message, frozen=True):
    """Cancel the run. Ended follows, but no Output."""

    run: int


class Published(_Message, frozen=True):
    """The answer to Publish. error: empty if the notification was published."""

    run: int
    call: int
    error: str = ""
    is_refused: bool = False  # the notification is wrong; otherwise Redis is not available


class Answered(_Message, frozen=True):
    """More of the answer that an Ask or AskMore requested. end: set in the last one."""

    run: int
    call: int
    parts: list[Part]
    end: AnswerEnd | None = None


# From the child process.


class FunctionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a function declares about itself. The fields mean the same as in App.producer."""

    retries: int = 0
    max_running: int | None = None
    timeout_seconds: float | None = None


class Loaded(_Message, frozen=True):
    """The functions can be called; their options by name of the upstream."""

    functions: dict[str, FunctionOptions]


class NotLoaded(_Message, frozen=True):
    """The functions cannot be called. reason: one sentence."""

    reason: str


class End(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a run ended. code: empty if the function returned; else that of `generation.failed`.

    detail: for the log, and for the client where errors are shown. traceback: for the log.
    upstream_report: what the upstream that failed reported.
    """

    code: str = ""
    message: str = ""
    retryable: bool = False
    detail: str = ""
    traceback: str = ""
    upstream_report: UpstreamReport | None = None


class Output(_Message, frozen=True):
    """More parts of a run, and commands between them, which are carried out when the worker sends
    Pull again. end: set in the last one.
    """

    run: int
    parts: list[PartOrCommand]
    end: End | None = None


class Publish(_Message, frozen=True):
    """Publish a notification to the user of the run. call: the number of this message."""

    run: int
    call: int
    notification: Notification


class Ask(_Message, frozen=True):
    """Ask an upstream, and send the first parts of its answer. call: the number of this message."""

    run: int
    call: int
    request: AskRequest


class AskMore(_Message, frozen=True):
    """Send the next parts of an answer. The answer to it is one Answered."""

    run: int
    call: int


class AskClose(_Message, frozen=True):
    """Close the connection to the upstream. No Answered follows."""

    run: int
    call: int


class Ended(_Message, frozen=True):
    """A cancelled run has ended: its function does nothing more. detail: what it raised."""

    run: int
    detail: str = ""


class Overdue(_Message, frozen=True):
    """A cancelled run has not ended in time."""

    run: int


ToChild = Start | Pull | Cancel | Published | Answered
ToWorker = Loaded | NotLoaded | Output | Publish | Ask | AskMore | AskClose | Ended | Overdue


class FrameConnection(asyncio.Protocol, Generic[Received]):
    """One end of the socket.

    messages: the type of a list of the messages that this end receives. on_message: called for each
    one. on_lost: called once, when the other end is gone.
    """

    def __init__(
        self,
        messages: Any,
        on_message: Callable[[Received], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._decoder = msgspec.json.Decoder(messages)
        self._on_message = on_message
        self._on_lost = on_lost
        self._received = bytearray()
        self._unsent: list[Any] = []
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None

    async def open(self, sock: socket.socket) -> None:
        """Use a connected socket, which belongs to this object from now on."""
        await self._loop.create_unix_connection(lambda: self, sock=sock)

    def send(self, message: ToChild | ToWorker) -> None:
        """Send a message with all others of this iteration of the event loop."""
        if not self._unsent:
            self._loop.call_soon(self.flush)
        self._unsent.append(message)

    def flush(self) -> None:
        """Send what has not been sent yet."""
        messages, self._unsent = self._unsent, []
        if messages and self._transport is not None and not self._transport.is_closing():
            frame = msgspec.json.encode(messages)
            self._transport.write(len(frame).to_bytes(_HEADER_BYTES, "big") + frame)

    def close(self) -> None:
        """Send what has not been sent yet, and close the socket."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop has classes of its own
        self.flush()

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        while len(received) >= _HEADER_BYTES:
            end = _HEADER_BYTES + int.from_bytes(received[:_HEADER_BYTES], "big")
            if len(received) < end:
                return
            frame = bytes(received[_HEADER_BYTES:end])
            del received[:end]
            for message in self._decoder.decode(frame):
                self._on_message(message)

    def connection_lost(self, error: Exception | None) -> None:
        self._on_lost()
