"""The protocol between a worker and a child process that runs functions.

Both ends hold one stream socket. A frame is its length in 4 bytes and a JSON array: the messages
that one end sends within one iteration of its event loop. The child sends the parts of a run only
when the worker has asked for them (`Pull`), so the worker never holds more of a run than one
message, and the child stops a function whose buffer is full. An upstream that a function asks is
read in the same way (`AskMore`): the worker has the API keys, and never more of an answer than one
message.
"""

from __future__ import annotations

from typing import Self

import msgspec

from hub.core.durable import PartOrCommand
from hub.core.parts import Part
from hub.core.steering import SteeringMessage
from hub.core.verdicts import CheckedKind, GuardContext, Verdict
from hub.producer.answer import AnswerEnd, AskRequest
from hub.producer.failures import UpstreamReport
from hub.producer.inputs import InputValue
from hub.producer.run import Notification, RunContext


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


class StartGuard(_Message, frozen=True):
    """Load the guard of an upstream for one answer. Check follows, and Cancel ends it."""

    run: int
    upstream: str
    context: GuardContext


class Check(_Message, frozen=True):
    """Call the guard with a window. The answer is Checked, unless another Check or Cancel follows.

    part: which text it is. kept: how many characters of that text, as of the last Check, remain;
    `text` follows them. start: where the window begins in the whole.
    """

    run: int
    call: int
    part: CheckedKind
    kept: int
    text: str
    start: int
    is_closed: bool
    is_last: bool


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


class Steered(_Message, frozen=True):
    """The user has sent messages to the run."""

    run: int
    messages: list[SteeringMessage]


class InputAnswered(_Message, frozen=True):
    """What has become of an input that the run has asked for (AskInput)."""

    run: int
    key: str
    answer: InputValue


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

    @classmethod
    def of_application(cls, detail: str, traceback: str = "") -> Self:
        """Return the end of a run whose application failed; the client gets no details."""
        return cls("producer_error", "the application failed to answer", False, detail, traceback)


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


class Checked(_Message, frozen=True):
    """What a guard decided. verdict: None if it failed; then `error` says how, and `traceback`."""

    run: int
    call: int
    verdict: Verdict | None = None
    error: str = ""
    traceback: str = ""


class InputClose(_Message, frozen=True):
    """The run waits for an input no longer."""

    run: int
    key: str


class Ended(_Message, frozen=True):
    """A cancelled run has ended: its function does nothing more. detail: what it raised."""

    run: int
    detail: str = ""


class Overdue(_Message, frozen=True):
    """A cancelled run has not ended in time."""

    run: int


ToChild = (
    Start | StartGuard | Pull | Check | Cancel | Published | Answered | InputAnswered | Steered
)
ToWorker = (
    Loaded
    | NotLoaded
    | Output
    | Checked
    | Publish
    | Ask
    | AskMore
    | AskClose
    | InputClose
    | Ended
    | Overdue
)
