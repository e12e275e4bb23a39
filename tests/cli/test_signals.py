"""Signals on event loops with and without signal handlers."""

from __future__ import annotations

import asyncio
import signal
from unittest.mock import patch

import pytest

from hub.cli.signals import on_termination


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("supported", [True, False], ids=["unix", "windows"])
def test_a_signal_calls_back_in_the_loop(supported: bool, number: signal.Signals) -> None:
    """The loops of Windows have no signal handlers; the callback is called all the same."""

    async def main() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        refuse = patch.object(loop, "add_signal_handler", side_effect=NotImplementedError)
        if supported:
            on_termination(stopped.set)
        else:
            with refuse:
                on_termination(stopped.set)
        signal.raise_signal(number)
        async with asyncio.timeout(60):
            await stopped.wait()

    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    try:
        asyncio.run(main())
    finally:
        for each, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(each, handler)
