"""Windows of a guard: whatever the chunks and the moments, nothing is released unchecked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core import verdicts
from hub.core.durable import AskInput, Restart, ResumePoint, Save, Store, StreamOutput
from hub.core.folded_parts import FoldedParts
from hub.core.guarded_parts import MAX_WAITING_CHARS, GuardedParts
from hub.core.inputs import InputRequest
from hub.core.part_events import to_event
from hub.core.parts import (
    Annotations,
    Data,
    Finished,
    Reasoning,
    ReasoningDetails,
    Replace,
    Source,
    Status,
    Text,
    ToolCallDelta,
    Usage,
)
from hub.core.verdicts import End, Pass, Retract, TextWindow, Verdict

KINDS: Any = ("text", "reasoning")
PHRASE = "abba"
DONE = Finished("stop")
SOURCE = Source("https://example.com")


def tool_call(n: int, arguments: str = "") -> ToolCallDelta:
    return ToolCallDelta(
        [
            {
                "index": n,
                "id": f"c{n}",
                "type": "function",
                "function": {"name": "f", "arguments": arguments},
            }
        ]
    )


words = st.text("abc ", min_size=1, max_size=6)
texts = st.builds(Text, words)
others = st.one_of(
    st.builds(Reasoning, words),
    st.builds(Replace, words),
    st.just(SOURCE),
    st.just(Status("s")),
    st.integers(0, 3).map(tool_call),
    st.just(Annotations([{"n": 1}])),
    st.just(Data("d", 1, visible=False)),
    st.just(Usage({"completion_tokens": 1})),
)
answers = st.lists(st.one_of(texts, texts, others), max_size=12)
holds = st.integers(0, 8)
moments = st.integers(0, 2**32).map(Random)


def decide(window: TextWindow, verdict: str) -> Verdict:
    match verdict:
        case "replace":
            return verdicts.Replace(window.text.upper()[:-1] + "!")
        case "retract":
            return Retract("[gone]")
        case "end":
            return End("blocked", "No.", "[blocked]")
        case _:
            return Pass()


class Schedule:
    """Feeds an answer to `guarded`, and chooses the moments at which checks begin and end.

    published: the parts in their order. windows: those that the guard got.
    """

    def __init__(self, guarded: GuardedParts, moments: Random) -> None:
        self.guarded = guarded
        self.moments = moments
        self.published: list[StreamOutput] = []
        self.windows: list[TextWindow] = []

    def run(self, answer: Sequence[StreamOutput], answers_of_guard: Any) -> None:
        """answers_of_guard: called with a window; returns a verdict, or None to skip it."""
        window: TextWindow | None = None
        waiting = [*answer, DONE]
        while True:
            if waiting and self.moments.random() < 0.5:
                self.guarded.add([waiting.pop(0)])
            elif window is not None:
                verdict = answers_of_guard(window)
                window = None
                if verdict is None:
                    self.guarded.skip()
                else:
                    self.guarded.apply(verdict)
            elif (window := self.guarded.next_window()) is not None:
                self.windows.append(window)
            elif not waiting:
                break
            self._take()
        assert self.guarded.is_complete

    def _take(self) -> None:
        released, _ = self.guarded.take()
        self.published += released

    @property
    def texts(self) -> list[str]:
        """The text after each published part."""
        folded, seen = FoldedParts(), []
        for part in self.published:
            apply(folded, part)
            seen.append(folded.text)
        return seen


def apply(folded: FoldedParts, part: StreamOutput) -> None:
    if not isinstance(part, Usage | Finished | Save | Store | Restart | AskInput | ResumePoint):
        folded.apply(*to_event(part))


def comparable(parts: Sequence[StreamOutput], has_rewrites: bool) -> Any:
    """Return the folded parts; with rewritten texts, the text apart from the other parts."""
    folded = FoldedParts()
    for part in parts:
        apply(folded, part)
    if not has_rewrites:
        return folded.parts
    others = FoldedParts()
    for part in parts:
        if not isinstance(part, Text | Replace):
            apply(others, part)
    return folded.text, others.parts


@given(answer=answers, hold_back=holds, every=st.integers(1, 5), moments=moments)
def test_guard_that_passes_changes_nothing(
    answer: list[StreamOutput], hold_back: int, every: int, moments: Random
) -> None:
    """With a guard that passes or is skipped, readers fold the same parts, and the end is last.

    Only a rewritten text can be at another place, if the text that it replaces was never shown.
    """
    schedule = Schedule(GuardedParts(KINDS, hold_back=hold_back, check_every=every), moments)
    schedule.run(answer, lambda window: moments.choice([Pass(), None]))
    has_rewrites = any(isinstance(part, Replace) for part in answer)
    assert comparable(schedule.published, has_rewrites) == comparable(answer, has_rewrites)
    assert schedule.published[-1] == DONE
    whole = schedule.texts[-1]
    if whole:
        assert [each.whole_text for each in schedule.windows if each.is_last] == [whole]


@given(chunks=st.lists(words, max_size=12), moments=moments)
def test_phrase_that_is_split_is_never_shown(chunks: list[str], moments: Random) -> None:
    """A guard that masks a phrase masks it wherever it is split, also around sources and reasoning.

    What is shown is at each moment the beginning of the masked text.
    """
    answer: list[StreamOutput] = []
    for chunk in chunks:
        answer.append(Text(chunk))
        answer += moments.choices([SOURCE, Reasoning("r")], k=moments.randrange(3))
    guarded = GuardedParts(KINDS, hold_back=len(PHRASE) - 1)
    schedule = Schedule(guarded, moments)
    schedule.run(answer, lambda window: verdicts.Replace(window.text.replace(PHRASE, "[*]")))
    masked = "".join(chunks).replace(PHRASE, "[*]")
    assert all(masked.startswith(text) for text in schedule.texts)
    assert schedule.texts[-1] == masked
    order = [part for part in answer if isinstance(part, Source | Reasoning)]
    kept = [part for part in schedule.published if isinstance(part, Source | Reasoning)]
    assert kept == order


@given(chunks=st.lists(st.sampled_from(["a", "aa", "b", " ab"]), max_size=12), moments=moments)
def test_word_is_masked_when_its_end_is_known(chunks: list[str], moments: Random) -> None:
    """A guard that waits for the end of a word never shows the beginning of one.

    The end is a character that follows, a part that interrupts the text, or that of the answer.
    """
    answer: list[StreamOutput] = []
    segments = [""]
    for chunk in chunks:
        answer.append(Text(chunk))
        segments[-1] += chunk
        if moments.random() < 0.2:
            answer.append(Status("s"))
            segments.append("")

    def guard(window: TextWindow) -> Verdict:
        def mask(match: re.Match[str]) -> str:
            is_open = match.end() == len(window.text) and not window.is_closed
            return match[0] if is_open else "#"

        return verdicts.Replace(re.sub("a+", mask, window.text))

    longest = max(len(run) for segment in segments for run in re.findall("a*", segment))
    schedule = Schedule(GuardedParts(KINDS, hold_back=longest), moments)
    schedule.run(answer, guard)
    assert all("a" not in text for text in schedule.texts)
    assert schedule.texts[-1] == "".join(re.sub("a+", "#", segment) for segment in segments)


@given(answer=answers, hold_back=holds, moments=moments)
def test_nothing_unchecked_is_released(
    answer: list[StreamOutput], hold_back: int, moments: Random
) -> None:
    """Every text that is shown is one that the guard has allowed, whatever its verdicts are."""
    letters = iter(map(chr, range(0x4E00, 0x9FFF)))  # each character of the answer occurs once

    def unique(part: StreamOutput) -> StreamOutput:
        if isinstance(part, Text | Reasoning | Replace):
            return type(part)("".join(next(letters) for _ in part.text))
        return part

    allowed: set[str] = set()

    def guard(window: TextWindow) -> Verdict:
        choice = moments.choice(["pass", "pass", "replace", "retract", "end"])
        verdict = decide(window, choice)
        match verdict:
            case Pass():
                allowed.update(window.text)
            case verdicts.Replace(text) | Retract(text):
                allowed.update(text)
            case End():
                allowed.update("[blocked]")
        return verdict

    schedule = Schedule(GuardedParts(KINDS, hold_back=hold_back), moments)
    schedule.run([unique(part) for part in answer], guard)
    for part in schedule.published:
        if isinstance(part, Text | Reasoning | Replace):
            assert set(part.text) <= allowed
    if schedule.guarded.is_ended:
        last = schedule.published.index(Replace("[blocked]"))
        assert all(isinstance(part, Usage) for part in schedule.published[last + 1 :])


@given(answer=answers, moments=moments)
def test_other_parts_keep_their_order(answer: list[StreamOutput], moments: Random) -> None:
    """Whatever the guard makes of the texts, all other parts come once and in their order."""
    schedule = Schedule(GuardedParts(KINDS, hold_back=3), moments)
    choices = ["pass", "replace", "retract"]
    schedule.run(answer, lambda window: decide(window, moments.choice(choices)))
    of_text = (Text, Reasoning, Replace, Usage, Finished, ResumePoint)
    kept = [part for part in schedule.published if not isinstance(part, of_text)]
    assert kept == [part for part in answer if not isinstance(part, of_text)]


def check_all(guarded: GuardedParts) -> list[StreamOutput]:
    """Let everything pass that can be checked now, and return what is released."""
    while guarded.next_window() is not None:
        guarded.apply(Pass())
    return guarded.take()[0]


@pytest.mark.parametrize(
    "part",
    [Status("s"), tool_call(0), Data("d", 1), Save(b"1")],  # type: ignore[arg-type]
    ids=["status", "tool_call", "data", "checkpoint"],
)
def test_part_after_a_text_does_not_wait_for_more_text(part: StreamOutput) -> None:
    """A part that interrupts the text closes the window: the text and the part are released."""
    guarded = GuardedParts(KINDS, hold_back=10)
    guarded.add([Text("Let me see")])
    assert check_all(guarded) == []
    guarded.add([part])
    assert check_all(guarded) == [Text("Let me see"), part]


ASK = AskInput(InputRequest(input="ok", prompt="Ok?", expires_at=9e9))


def test_request_of_an_input_does_not_wait_for_more_text() -> None:
    """The function waits for the answer; readers have the text before the request."""
    guarded = GuardedParts(KINDS, hold_back=10)
    guarded.add([Text("May I?"), ASK])
    assert guarded.has_commands
    assert check_all(guarded) == [Text("May I?"), ASK]
    assert not guarded.has_commands


def test_answer_that_is_suspended_has_no_last_window() -> None:
    """A later attempt goes on, so the text before the request is not the last one."""
    guarded = GuardedParts(KINDS, hold_back=10)
    suspend = msgspec.structs.replace(ASK, save=Save(msgspec.Raw(b"1")))
    guarded.add([Text("May I?"), suspend, DONE])
    window = guarded.next_window()
    assert window is not None
    assert (window.is_closed, window.is_last) == (True, False)
    guarded.apply(Pass())
    assert guarded.next_window() is None
    assert guarded.take()[0] == [Text("May I?"), suspend, DONE]


def test_window_that_is_closed_later_is_checked_once_more() -> None:
    """A guard may wait for the end of a word; then it learns that nothing follows."""
    guarded = GuardedParts(KINDS, hold_back=10)
    guarded.add([Text("abc")])
    first = guarded.next_window()
    guarded.apply(Pass())
    guarded.add([Status("s")])
    second = guarded.next_window()
    guarded.apply(Pass())
    assert first is not None
    assert second is not None
    assert [(each.text, each.is_closed) for each in (first, second)] == [
        ("abc", False),
        ("abc", True),
    ]
    assert guarded.next_window() is None
    assert guarded.take()[0] == [Text("abc"), Status("s")]


def test_text_releases_the_reasoning_before_it() -> None:
    """Reasoning is not held back for the rest of the answer."""
    guarded = GuardedParts(KINDS, hold_back=10)
    guarded.add([Reasoning("think"), Text("t")])
    assert check_all(guarded) == [Reasoning("think")]


def test_values_and_usage_do_not_wait() -> None:
    """A function waits until a value is stored; the value does not wait for the text."""
    guarded = GuardedParts(KINDS, hold_back=10)
    store = Store("s", b"1")  # type: ignore[arg-type]
    guarded.add([Text("abc"), store, Usage({"n": 1})])
    assert guarded.take()[0] == [store, Usage({"n": 1})]


def test_new_beginning_drops_what_waits() -> None:
    """After `run.restart()` the text that waited is void, and so is the check of it."""
    guarded = GuardedParts(KINDS, hold_back=0)
    guarded.add([Text("old")])
    assert guarded.next_window() is not None
    guarded.add([Restart(), Text("new")])
    guarded.apply(Pass())
    assert guarded.take()[0] == [Restart()]
    window = guarded.next_window()
    assert window is not None
    assert (window.whole_text, window.start) == ("new", 0)


def test_skipped_check_is_made_up_for() -> None:
    """What a skipped check holds back is checked with what follows, and before the end."""
    guarded = GuardedParts(KINDS, hold_back=2)
    guarded.add([Text("abcd")])
    guarded.next_window()
    guarded.skip()
    assert guarded.take()[0] == [Text("ab")]
    guarded.add([Status("s")])
    window = guarded.next_window()
    assert window is not None
    assert window.text == "cd"


def test_new_characters_are_collected() -> None:
    """A window is due when it has as many new characters as are wanted, or is closed."""
    guarded = GuardedParts(KINDS, hold_back=0, check_every=4)
    guarded.add([Text("abc")])
    assert guarded.next_window() is None
    guarded.add([Text("d")])
    assert guarded.next_window() is not None


def test_last_check_sees_the_whole_answer() -> None:
    """At the end of an answer whose text is released, a window without text is checked."""
    guarded = GuardedParts(KINDS, hold_back=0)
    guarded.add([Text("abc"), SOURCE])
    assert check_all(guarded) == [Text("abc"), SOURCE]
    guarded.add([DONE])
    window = guarded.next_window()
    assert window is not None
    assert (window.text, window.whole_text) == ("", "abc")
    assert window.is_closed
    assert window.is_last
    guarded.apply(verdicts.Replace(" (checked)"))
    assert guarded.take()[0] == [Text(" (checked)"), DONE]


def test_text_that_was_shown_belongs_to_the_whole() -> None:
    """An attempt that continues an answer checks its text with that before it."""
    guarded = GuardedParts(KINDS, hold_back=0, shown="before ")
    guarded.add([Text("after")])
    window = guarded.next_window()
    assert window is not None
    assert (window.whole_text, window.text) == ("before after", "after")


def test_details_of_reasoning_are_checked_by_the_reasoning() -> None:
    """Details whose text the guard has replaced are left out; the others are released."""
    guarded = GuardedParts(KINDS, hold_back=0)
    details = [
        {"type": "reasoning.text", "text": "secret", "signature": "s"},
        {"type": "reasoning.encrypted", "data": "x"},
    ]
    guarded.add([Reasoning("a secret"), ReasoningDetails(details), Text("t")])
    guarded.next_window()
    guarded.apply(verdicts.Replace("a ***"))
    assert guarded.take()[0] == [Reasoning("a ***"), ReasoningDetails(details[1:])]


def test_resume_point_waits_for_the_text_before_it() -> None:
    """A later attempt continues behind text that readers have; the newest point is enough."""
    guarded = GuardedParts(KINDS, hold_back=2)
    points = [ResumePoint(n) for n in range(3)]
    guarded.add([Text("ab"), points[0], Text("cd"), points[1], Text("ef"), points[2]])
    assert check_all(guarded) == [Text("ab"), Text("cd"), points[1]]
    guarded.add([DONE])
    assert check_all(guarded) == [Text("ef"), points[2], DONE]


def test_no_resume_point_inside_a_text_that_was_changed() -> None:
    """The upstream would send again a part of what was replaced."""
    guarded = GuardedParts(KINDS, hold_back=0)
    points = [ResumePoint(n) for n in range(3)]
    guarded.add([Text("a sec"), points[0], Text("ret b"), points[1]])
    guarded.next_window()
    guarded.apply(verdicts.Replace("a *** b"))
    assert guarded.take()[0] == [Text("a ***"), Text(" b"), points[1]]
    guarded.add([Text("c"), points[2]])
    guarded.next_window()
    guarded.apply(Retract("gone"))
    assert guarded.take()[0] == [Replace("gone"), points[2]]


def test_retracted_text_is_in_no_checkpoint() -> None:
    """A checkpoint with text that is retracted is discarded, also that of a function."""
    guarded = GuardedParts(KINDS, hold_back=0)
    guarded.add([Text("bad"), Save(b"1")])  # type: ignore[arg-type]
    check_all(guarded)
    guarded.add([Text("."), Reasoning("r")])
    guarded.next_window()
    guarded.apply(Retract("gone"))
    assert guarded.take()[0] == [Replace("gone"), ResumePoint(None)]


def test_what_waits_is_bounded() -> None:
    """Text that is held back while much else follows is released, so the producer can go on."""
    guarded = GuardedParts(KINDS, hold_back=10)
    guarded.add([Text("abc")])
    check_all(guarded)
    guarded.add([Reasoning("r" * (MAX_WAITING_CHARS + 1))])
    assert guarded.is_full
    released = check_all(guarded)
    assert released[0] == Text("abc")
    assert not guarded.is_full


@pytest.mark.parametrize(
    "part",
    [
        Data("d", "x" * MAX_WAITING_CHARS),
        Annotations([{"text": "x" * MAX_WAITING_CHARS}]),
        tool_call(1, "x" * MAX_WAITING_CHARS),
        Store("s", msgspec.Raw(b" " * MAX_WAITING_CHARS)),
        AskInput(InputRequest(input="k", prompt="x" * MAX_WAITING_CHARS, expires_at=1.0)),
        ResumePoint("x" * MAX_WAITING_CHARS),
    ],
    ids=lambda part: type(part).__name__,
)
def test_bound_counts_all_parts(part: StreamOutput) -> None:
    """Nothing is added behind large parts until they are taken, whether text is before them."""
    guarded = GuardedParts(KINDS, hold_back=0)
    guarded.add([Text("abc"), part])
    assert guarded.is_full
    check_all(guarded)
    assert not guarded.is_full
    guarded.add([part])
    assert guarded.is_full
    assert guarded.take()[0] == [part]
    assert not guarded.is_full


def test_parts_that_wait_to_be_taken_close_no_window() -> None:
    """Text is held back for what follows it, also if its publish is slow."""
    guarded = GuardedParts(KINDS[:1], hold_back=10)
    guarded.add([Reasoning("r" * (MAX_WAITING_CHARS + 1)), Text("abc")])
    assert guarded.is_full
    window = guarded.next_window()
    assert window is not None
    assert not window.is_closed


@pytest.mark.parametrize("checks", [("text",), ("reasoning",)])
def test_kinds_that_are_not_checked_pass(checks: Any) -> None:
    """Only the chosen kinds reach the guard."""
    guarded = GuardedParts(checks, hold_back=0)
    guarded.add([Reasoning("r"), Text("t"), DONE])
    kinds = set()
    while (window := guarded.next_window()) is not None:
        kinds.add(window.kind)
        guarded.apply(Pass())
    assert kinds == set(checks)
    assert guarded.take()[0] == [Reasoning("r"), Text("t"), DONE]


def test_delay_is_that_of_the_oldest_text() -> None:
    """`take` tells how long the text has waited."""
    guarded = GuardedParts(KINDS, hold_back=0)
    guarded.add([Text("a")], now=1.0)
    guarded.add([Text("b")], now=2.0)
    guarded.next_window()
    guarded.apply(Pass())
    assert guarded.take(4.0) == ([Text("a"), Text("b")], 3.0)


def test_code_of_end_is_checked() -> None:
    """A code that `generation.failed` cannot have is refused."""
    with pytest.raises(ValueError, match="the code of End"):
        End("No spaces", "message")
