"""The recording of README: a worker is killed, and its answer goes on.

The browser sends a frame whenever the page changes. The recording takes the newest one at each tick
of its own clock, so it plays as fast as it happened, however slow the machine is.
"""

from __future__ import annotations

import asyncio
import io
from base64 import b64decode
from itertools import pairwise
from typing import Any, Final

from PIL import Image
from playwright.async_api import Browser, CDPSession, Locator, Page, expect

from tests.e2e.conftest import Dev
from tests.pictures.pages import IMAGES, ask, expect_done, open_page

_SIZE: Final = {"width": 1120, "height": 700}
_SECONDS: Final = 20
_FRAMES_PER_SECOND: Final = 6
_QUALITY: Final = 62  # of lossy WebP
_MAX_BYTES: Final = 1_500_000
_LAST_FRAME_MS: Final = 3000  # before it begins anew
_STILL_COLOURS: Final = 128
_CURSOR: Final = """() => {
    const cursor = document.createElement("div");
    Object.assign(cursor.style, {
        position: "fixed", zIndex: 99, width: "18px", height: "18px", borderRadius: "50%",
        background: "rgb(37 99 235 / .55)", pointerEvents: "none", display: "none",
    });
    document.body.append(cursor);
    addEventListener("mousemove", ({ clientX, clientY }) => Object.assign(cursor.style, {
        display: "block", left: `${clientX - 9}px`, top: `${clientY - 9}px`,
    }));
}"""


class Screencast:
    """The frames of a page, with the times at which the browser drew them."""

    def __init__(self, session: CDPSession) -> None:
        self._session = session
        self._acknowledged: set[asyncio.Task[Any]] = set()
        self.frames: list[tuple[float, bytes]] = []  # Unix seconds and the PNG
        session.on("Page.screencastFrame", self._on_frame)

    async def start(self) -> None:
        await self._session.send("Page.startScreencast", {"format": "png"})

    async def stop(self) -> None:
        await self._session.send("Page.stopScreencast")

    def _on_frame(self, event: dict[str, Any]) -> None:
        self.frames.append((event["metadata"]["timestamp"], b64decode(event["data"])))
        reply = {"sessionId": event["sessionId"]}
        task = asyncio.create_task(self._session.send("Page.screencastFrameAck", reply))
        self._acknowledged.add(task)
        task.add_done_callback(self._acknowledged.discard)


async def record_takeover(browser: Browser, dev: Dev) -> None:
    """Record a question, the kill of the worker during its answer, and the end of the answer."""
    page = await open_page(browser, f"{dev.url}/?user=nadia", _SIZE)
    await expect(page.get_by_test_id("state")).to_have_attribute("data-state", "live")
    await page.evaluate(_CURSOR)
    screencast = Screencast(await page.context.new_cdp_session(page))
    await screencast.start()
    await _point_at(page, page.get_by_role("button", name="Kill the worker"))
    await ask(page, "count to 240")
    text = page.get_by_test_id("answer-text").last
    await expect(text).to_contain_text(" 60 ")
    await page.mouse.down()
    await page.mouse.up()
    await expect(page.locator("#happened")).to_contain_text("continues the answer where it stood")
    await expect_done(page)
    await expect(page.get_by_test_id("ledger")).to_have_text("lost 0, twice 0")
    await asyncio.sleep(1)  # for the last frame
    await screencast.stop()
    _write(screencast.frames)
    await page.context.close()


async def _point_at(page: Page, button: Locator) -> None:
    """Move the pointer so that one can follow it."""
    box = await button.bounding_box()
    assert box is not None
    await page.mouse.move(560, 480)
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=6)


def _write(frames: list[tuple[float, bytes]]) -> None:
    """Write the frames as an animated WebP, and the last one as a picture.

    Raise ValueError if the recording is too long or too large.
    """
    start, end = frames[0][0], frames[-1][0]
    if end - start > _SECONDS:
        raise ValueError(f"the recording takes {end - start:.1f} s; try again with less to do")
    ticks = [start + n / _FRAMES_PER_SECOND for n in range(int((end - start) * _FRAMES_PER_SECOND))]
    times = [at for at, _ in frames]
    chosen = sorted({max(i for i, at in enumerate(times) if at <= tick) for tick in ticks})
    chosen = sorted({*chosen, len(frames) - 1})
    durations = [round((times[b] - times[a]) * 1000) for a, b in pairwise(chosen)]
    pictures = [Image.open(io.BytesIO(frames[i][1])).convert("RGB") for i in chosen]
    path = IMAGES / "takeover.webp"
    pictures[0].save(
        path,
        save_all=True,
        append_images=pictures[1:],
        duration=[*durations, _LAST_FRAME_MS],
        loop=0,
        quality=_QUALITY,
        method=4,
        minimize_size=True,
        allow_mixed=True,
    )
    # For those who ask for less motion.
    still = pictures[-1].quantize(_STILL_COLOURS, dither=Image.Dither.NONE)
    still.save(IMAGES / "takeover-still.png", optimize=True)
    size = path.stat().st_size
    print(f"{path.name}: {end - start:.1f} s, {len(chosen)} frames, {size:,} bytes")
    if size > _MAX_BYTES:
        raise ValueError(f"the recording has {size} bytes, and may have {_MAX_BYTES}")
