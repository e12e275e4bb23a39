"""Checks of answers before they are shown: functions for `guard.target` of an upstream.

[upstreams.main.guard]
target = "guards:check"
"""

from __future__ import annotations

import re

from hub.guard import End, Replace, Verdict, Window

CONTACT = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*|\+?\d[\d ]{7,}\d")
FORBIDDEN = re.compile(r"project\s+nightingale", re.IGNORECASE)


async def check(window: Window) -> Verdict | None:
    """Mask e-mail addresses and phone numbers, and end answers about a secret project."""
    if FORBIDDEN.search(window.whole_text):
        return End("off_topic", "This assistant does not talk about that.", text="")

    def mask(match: re.Match[str]) -> str:
        # More of it may follow: the next window begins with these characters.
        rest = window.text[match.end() :].strip(" .")
        may_go_on = not rest and not window.is_closed
        return match[0] if may_go_on else "[contact]"

    return Replace(CONTACT.sub(mask, window.text))
