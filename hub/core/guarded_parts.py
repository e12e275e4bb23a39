"""The windows of an answer that a guard checks, and the parts that may be published meanwhile.

Rules:
1. A character of a checked text is released only after a check of a window with it, or after the
   caller has skipped that check.
2. The last `hold_back` characters of a window stay in the next one, so that the guard sees them
   together with what follows. A closed window is released as a whole.
3. A window is closed by what interrupts the text for the reader: a tool call and its result, a
   status, step, file or data, a checkpoint, and the end. Text also closes the reasoning before it.
   No window extends over what closes it.
4. All parts are released in their order. Those that belong to a text (sources, annotations, details
   of reasoning), the reasoning between two texts and the resume points wait for the text before
   them. Token counts and values that a function stores have no place in this order and do not
   wait.
5. `reasoning_details` repeat the reasoning. An item whose text is not in the reasoning that was
   released is left out.
6. A resume point inside a window whose text the guard changes is left out: what the upstream sends
   again from there would not follow the text that was shown.
7. What waits is bounded: if more than MAX_WAITING_CHARS wait for checks and no check can release
   any of it, the window is closed as well. Nothing is to be added while so much waits for checks,
   or has been released and not taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from hub.core import verdicts
from hub.core.durable import AskInput, Restart, ResumePoint, Store, StreamOutput, has_commands
from hub.core.growing_text import GrowingText
from hub.core.parts import (
    Finished,
    Reasoning,
    ReasoningDetails,
    Replace,
    Text,
    Usage,
)
from hub.core.verdicts import CheckedKind, TextWindow, Verdict
from hub.core.waiting_parts import Chunk, WaitingParts, count_chars

MAX_WAITING_CHARS: Final = 128 * 1024
_KINDS: Final[Sequence[CheckedKind]] = ("text", "reasoning")
_DETAIL_TEXTS: Final = ("text", "summary")


class _Check(msgspec.Struct, eq=False):
    """The check that runs. chunks: those of its window. is_stale: the window does not exist any
    more, because the producer has rewritten the text or begun anew.
    """

    kind: CheckedKind
    chunks: list[Chunk]
    is_closed: bool
    is_last: bool
    is_stale: bool = False


class GuardedParts:
    """The parts of one answer on their way through a guard.

    checks: the kinds of text that are checked. hold_back: see rule 2. check_every: how many new
    characters a window must have, unless it is closed. shown: the text that readers have already.
    Times are those of the caller's clock, in seconds.
    """

    def __init__(
        self,
        checks: Collection[CheckedKind],
        *,
        hold_back: int,
        check_every: int = 1,
        shown: str = "",
    ) -> None:
        self._checks = checks
        self._hold_back = hold_back
        self._check_every = check_every
        self._waiting = WaitingParts()
        self._released: list[StreamOutput] = []
        self._released_chars = 0
        self._received_at: float | None = None  # the oldest text in `_released`
        self._before = {kind: GrowingText() for kind in _KINDS}  # the queue
        self._before["text"].append(shown)
        self._unchanged = dict.fromkeys(_KINDS, 0)  # characters as of the last window
        self._windows = dict.fromkeys(_KINDS, 0)  # how many there were
        self._seen = dict.fromkeys(_KINDS, 0)  # characters of the queue that a check has seen
        self._cleared = dict.fromkeys(_KINDS, 0)  # characters of the queue that may be released
        self._check: _Check | None = None
        self._finished: Finished | None = None
        self._is_finished = False
        self._is_suspended = False  # a later attempt goes on
        self._is_last_checked = "text" not in checks
        self.is_ended = False  # by the guard

    @property
    def is_full(self) -> bool:
        """Whether nothing should be added: too much waits, or has been released and not taken."""
        return max(self._waiting.chars, self._released_chars) > MAX_WAITING_CHARS

    @property
    def has_commands(self) -> bool:
        """Whether a command waits, or has been released and not taken."""
        return has_commands(self._released) or has_commands(
            item for item in self._waiting if not isinstance(item, Chunk)
        )

    @property
    def is_complete(self) -> bool:
        """Whether the producer has finished, and everything was released or dropped."""
        return self.is_ended or (
            self._is_finished and not self._waiting and not self._needs_last_check()
        )

    def add(self, parts: Iterable[StreamOutput], now: float = 0.0) -> None:
        """Add the next parts of the producer. After the guard has ended the answer, only token
        counts are used.
        """
        for part in parts:
            if not self.is_ended or isinstance(part, Usage):
                self._add(part, now)
        self._release()

    def finish(self) -> None:
        """Say that nothing follows, because the producer has failed."""
        self._is_finished = True
        self._release()

    def take(self, now: float = 0.0) -> tuple[list[StreamOutput], float | None]:
        """Return the parts that have been released since the last call.

        With them comes how long the oldest text among them has waited; None without a text.
        """
        released, self._released = _with_last_point(self._released), []
        self._released_chars = 0
        received_at, self._received_at = self._received_at, None
        if self._finished is not None and self.is_complete and not self.is_ended:
            released.append(self._finished)
            self._finished = None
        return released, None if received_at is None else now - received_at

    def next_window(self) -> TextWindow | None:
        """Return the window to check now, or None. `apply` or `skip` must follow."""
        if self._check is not None or self.is_ended:
            return None
        head = self._waiting.head
        if not isinstance(head, Chunk):
            return self._start_last_check() if head is None else None
        kind = head.kind
        chunks, is_closed = self._waiting.find_window(kind)
        is_closed = is_closed or self._is_finished
        new = sum(len(chunk.text) for chunk in chunks) - self._seen[kind]
        is_due = new >= self._check_every
        if not (is_due or is_closed or self._waiting.chars > MAX_WAITING_CHARS):
            return None
        is_last = self._is_last(kind, chunks)
        self._check = _Check(kind, chunks, is_closed or not is_due, is_last)
        return self._build_window(self._check)

    def apply(self, verdict: Verdict) -> None:
        """Apply what the guard has decided about the window."""
        check = self._end_check()
        match verdict:
            case verdicts.End(text=text):
                self._end(text)
            case _ if check.is_stale:
                pass
            case verdicts.Replace(text):
                self._replace(check, text)
            case verdicts.Retract(text) if check.kind == "text":
                self._retract(check, text)
            case verdicts.Retract(text):  # no event takes back reasoning
                self._replace(check, text)
            case _:
                self._clear(check, is_seen=True)
        self._release()

    def skip(self) -> None:
        """Treat the window as if it had passed, because the guard does not answer."""
        check = self._end_check()
        if not check.is_stale:
            self._clear(check, is_seen=False)
        self._release()

    def fail(self) -> None:
        """End the answer, because the window cannot be checked."""
        self._end_check()
        self._end(None)

    # Adding.

    def _add(self, part: StreamOutput, now: float) -> None:
        match part:
            case Text(text) if "text" in self._checks:
                self._add_text("text", text, now)
            case Reasoning(text) if "reasoning" in self._checks:
                self._add_text("reasoning", text, now)
            case Replace(text) if "text" in self._checks:
                self._waiting.rewrite_text(Chunk("text", text, now, prefix=""))
                self._forget("text")
            case Usage() | Store():
                self._pass_on(part)
            case Restart():
                self._restart()
                self._pass_on(part)
            case Finished():
                self._finished, self._is_finished = part, True
            case ResumePoint() if self._is_finished:
                pass  # it would be stored before the end
            case _:
                if isinstance(part, AskInput) and part.save is not None:
                    self._is_suspended = self._is_last_checked = True
                self._waiting.append(part)

    def _add_text(self, kind: CheckedKind, text: str, now: float) -> None:
        if text:
            self._waiting.append(Chunk(kind, text, now))

    def _restart(self) -> None:
        self._waiting.clear()
        for kind in _KINDS:
            self._forget(kind)

    def _forget(self, kind: CheckedKind) -> None:
        """Forget the text before the queue, and that a check has seen any of the queue."""
        self._before[kind] = GrowingText()
        self._unchanged[kind] = 0
        self._seen[kind] = self._cleared[kind] = 0
        if self._check is not None and self._check.kind == kind:
            self._check.is_stale = True

    # Windows.

    def _is_last(self, kind: CheckedKind, chunks: Sequence[Chunk]) -> bool:
        """Return whether the window is the last one. An answer with a text ends with its text."""
        if not self._is_finished or self._is_suspended or len(chunks) < self._waiting.chunk_count:
            return False
        return kind == "text" or not len(self._before["text"])

    def _needs_last_check(self) -> bool:
        return not self._is_last_checked and bool(
            len(self._before["text"]) or self._waiting.chunk_count
        )

    def _start_last_check(self) -> TextWindow | None:
        """Return a window without a text at the end of an answer whose text was all released."""
        if not self._is_finished or not self._needs_last_check():
            return None
        self._check = _Check("text", [], is_closed=True, is_last=True)
        return self._build_window(self._check)

    def _build_window(self, check: _Check) -> TextWindow:
        kind = check.kind
        before, text = self._before[kind], "".join(chunk.text for chunk in check.chunks)
        window = TextWindow(
            kind=kind,
            text=text,
            before=before,
            start=len(before),
            number=self._windows[kind],
            unchanged=self._unchanged[kind],
            is_closed=check.is_closed,
            is_last=check.is_last,
        )
        self._windows[kind] += 1
        self._unchanged[kind] = len(before) + len(text)
        return window

    def _end_check(self) -> _Check:
        check, self._check = self._check, None
        assert check is not None
        if check.is_last and not check.is_stale:
            self._is_last_checked = True
        return check

    # Verdicts.

    def _clear(self, check: _Check, *, is_seen: bool) -> None:
        length = sum(len(chunk.text) for chunk in check.chunks)
        cleared = length if check.is_closed else max(0, length - self._hold_back)
        self._cleared[check.kind] = cleared
        self._seen[check.kind] = length if is_seen else cleared

    def _replace(self, check: _Check, text: str) -> None:
        """Distribute a new text over the chunks, so that what did not change keeps its place."""
        old = "".join(chunk.text for chunk in check.chunks)
        if text != old:
            self._waiting.remove_points(check.chunks)
        if not check.chunks and text:
            check.chunks.append(Chunk(check.kind, "", None))
            self._waiting.prepend(check.chunks[0])
        same_start = _count_same(old, text)
        if text != old:
            self._unchanged[check.kind] = len(self._before[check.kind]) + same_start
        limit = min(len(old), len(text)) - same_start
        same_end = _count_same(old[::-1][:limit], text[::-1][:limit])
        old_end = start = 0
        for n, chunk in enumerate(check.chunks, 1):
            old_end += len(chunk.text)
            if n == len(check.chunks):
                end = len(text)
            elif old_end <= same_start:
                end = old_end
            else:
                end = len(text) - min(same_end, len(old) - old_end)
            chunk.text, start = text[start:end], end
        self._waiting.remove_chunks(lambda chunk: not chunk.text and chunk.prefix is None)
        self._clear(check, is_seen=True)

    def _retract(self, check: _Check, text: str) -> None:
        """Let a text take the place of everything that the guard has seen.

        A checkpoint before it is discarded: it has the text that was shown.
        """
        self._waiting.remove_points(check.chunks)
        shown = Chunk("text", text, None, prefix="")
        if check.chunks:
            shown.received_at = check.chunks[0].received_at
        void = {id(chunk) for chunk in check.chunks}
        self._waiting.remove_chunks(lambda chunk: id(chunk) in void)
        self._waiting.prepend(shown, ResumePoint(None))
        self._before["text"] = GrowingText()
        self._unchanged["text"] = 0
        self._cleared["text"] = self._seen["text"] = len(text)

    def _end(self, text: str | None) -> None:
        self.is_ended = True
        self._waiting.clear()
        if text is not None:
            self._pass_on(Replace(text))

    # Releasing.

    def _pass_on(self, part: StreamOutput) -> None:
        self._released.append(part)
        self._released_chars += count_chars(part)

    def _release(self) -> None:
        """Release the parts at the head of the queue that need not wait."""
        while (item := self._waiting.head) is not None:
            if isinstance(item, Chunk):
                if not self._release_text(item):
                    return
                continue
            self._waiting.pop_head()
            if isinstance(item, ReasoningDetails) and "reasoning" in self._checks:
                item = self._without_unchecked(item)
            if not (isinstance(item, ReasoningDetails) and not item.details):
                self._pass_on(item)

    def _release_text(self, chunk: Chunk) -> bool:
        """Release what may be of a chunk. Return whether it was all of it."""
        kind = chunk.kind
        text = chunk.text[: self._cleared[kind]]
        is_whole = len(text) == len(chunk.text)
        if not text and not is_whole:
            return False
        self._cleared[kind] -= len(text)
        self._seen[kind] = max(0, self._seen[kind] - len(text))
        self._waiting.cut_head(chunk, len(text))
        if is_whole:
            self._waiting.pop_head()
        if chunk.prefix is None:
            self._before[kind].append(text)
            self._pass_on(Text(text) if kind == "text" else Reasoning(text))
        else:
            chunk.prefix += text
            self._before[kind] = GrowingText(chunk.prefix)
            self._pass_on(Replace(chunk.prefix))
        times = (self._received_at, chunk.received_at)
        self._received_at = min((time for time in times if time is not None), default=None)
        return is_whole

    def _without_unchecked(self, part: ReasoningDetails) -> ReasoningDetails:
        before = self._before["reasoning"]
        reasoning = before.read(0, len(before))
        return ReasoningDetails(
            [
                detail
                for detail in part.details
                if all(str(detail.get(name) or "") in reasoning for name in _DETAIL_TEXTS)
            ]
        )


def _with_last_point(released: list[StreamOutput]) -> list[StreamOutput]:
    """Return the parts with the last of their resume points: each one separates two texts."""
    last = max((n for n, part in enumerate(released) if isinstance(part, ResumePoint)), default=-1)
    return [
        part for n, part in enumerate(released) if n == last or not isinstance(part, ResumePoint)
    ]


def _count_same(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    length = min(len(one), len(other))
    return next((n for n in range(length) if one[n] != other[n]), length)
