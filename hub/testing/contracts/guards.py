"""What every guard must do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import msgspec
import pytest

from hub.core.growing_text import GrowingText
from hub.core.guarded_parts import GuardedParts
from hub.core.parts import Replace as Replaced
from hub.core.parts import Text
from hub.core.verdicts import (
    CheckedKind,
    End,
    GuardContext,
    Pass,
    Replace,
    Retract,
    TextWindow,
    Verdict,
)
from hub.errors import GuardFailed
from hub.guard import Window
from hub.ports.guards import Guard

OpenGuard = Callable[[], Awaitable[Guard]]
"""Returns a guard that calls `obey`."""

CONTEXT = GuardContext(user="alice", generation="g1", attempt=2, chat="c", metadata={"a": [1, "ü"]})


def obey(window: Window) -> Verdict | None:
    """Do what the text of the window says, or tell the whole text in the chat `whole`."""
    if window.chat == "whole":
        return End("whole", f"{window.text}|{window.whole_text}")
    match window.text:
        case "replace":
            return Replace("re😀placed")
        case "retract":
            return Retract("retracted")
        case "end":
            return End("blocked", "This is blocked.", "[blocked]")
        case "end without text":
            return End("blocked", "This is blocked.")
        case "raise":
            raise ValueError("a secret of the application")
        case "describe":
            return Replace(
                f"{window.user} {window.generation} {window.attempt} {window.chat} "
                f"{window.metadata} {window.kind} {window.whole_text} "
                f"{window.is_closed} {window.is_last}"
            )
        case _:
            return None


async def obey_or_wait(window: Window) -> Verdict | None:
    """As `obey`, and wait for ever if the text says so."""
    if window.text == "wait":
        await asyncio.Event().wait()
    return obey(window)


def window(
    text: str, before: str = "", *, kind: CheckedKind = "text", is_last: bool = False
) -> TextWindow:
    """Return a window that follows the text before it."""
    return TextWindow(
        kind=kind,
        text=text,
        before=GrowingText(before),
        start=len(before),
        number=0,
        unchanged=0,
        is_closed=is_last,
        is_last=is_last,
    )


class GuardContract:
    """The suite for ports.guards. The fixture `open_guard` returns an OpenGuard."""

    async def test_verdicts(self, open_guard: OpenGuard) -> None:
        """The verdict of the application is that of the guard; an exception fails the check."""
        session = (await open_guard()).open(CONTEXT)
        verdicts: dict[str, Verdict] = {
            "pass": Pass(),
            "replace": Replace("re😀placed"),
            "retract": Retract("retracted"),
            "end": End("blocked", "This is blocked.", "[blocked]"),
            "end without text": End("blocked", "This is blocked."),
        }
        for text, verdict in verdicts.items():
            with pytest.raises(GuardFailed):
                await session.check(window("raise"))
            assert await session.check(window(text)) == verdict
        session.close()

    async def test_window(self, open_guard: OpenGuard) -> None:
        """The application sees for whom the answer is, its whole text, and the window."""
        session = (await open_guard()).open(CONTEXT)
        steps: list[tuple[str, CheckedKind, bool]] = [
            ("Hi 😀 ", "text", False),
            ("Hi 😀 there ", "text", False),
            ("Other ", "text", False),
            ("", "reasoning", False),
            ("Oth", "text", True),
        ]
        for before, kind, is_last in steps:
            verdict = await session.check(window("describe", before, kind=kind, is_last=is_last))
            whole = before + "describe"
            about = "alice g1 2 c {'a': [1, 'ü']}"
            assert verdict == Replace(f"{about} {kind} {whole} {is_last} {is_last}")
        session.close()

    async def test_text_that_grows_and_changes(self, open_guard: OpenGuard) -> None:
        """The application sees the whole text in each window, whatever became of those before."""
        context = msgspec.structs.replace(CONTEXT, chat="whole")
        session = (await open_guard()).open(context)
        guarded = GuardedParts(["text"], hold_back=3)
        moments = Random(1)
        choices: list[Verdict | None] = [Pass(), Replace("ü😀x"), Replace(""), Retract("new"), None]
        for n in range(40):
            guarded.add([Replaced("other")] if n % 9 == 8 else [Text("more 😀 ")])
            window = guarded.next_window()
            assert window is not None
            if moments.random() < 0.8:  # otherwise the check is skipped before it begins
                verdict = await session.check(window)
                assert verdict == End("whole", f"{window.text}|{window.whole_text}")
            chosen = moments.choice(choices)
            if chosen is None:
                guarded.skip()
            else:
                guarded.apply(chosen)
            guarded.take()
        session.close()

    async def test_check_that_nobody_waits_for(self, open_guard: OpenGuard) -> None:
        """A check may be cancelled; the next one is answered, and so are other answers."""
        guard = await open_guard()
        session, other = guard.open(CONTEXT), guard.open(CONTEXT)
        waiting = asyncio.ensure_future(session.check(window("wait")))
        assert await other.check(window("replace")) == Replace("re😀placed")
        waiting.cancel()
        assert await session.check(window("retract")) == Retract("retracted")
        waiting = asyncio.ensure_future(session.check(window("wait")))
        await asyncio.sleep(0)
        session.close()
        waiting.cancel()
        other.close()
