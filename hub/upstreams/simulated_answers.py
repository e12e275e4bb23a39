"""What the simulated LLM says: always the same answer to the same question."""

from __future__ import annotations

import re
from typing import Final

_SKY: Final = """\
The sky is blue because air scatters short waves of light more than long ones.

1. Sunlight holds all colours.
2. On its way through the air, light meets molecules much smaller than its waves.
3. They scatter blue about four times as much as red: the scattering grows with the fourth \
power of the frequency (Rayleigh, 1871).

So from every part of the sky, some blue light reaches your eyes. At sunset the way through the \
air is longer, the blue has been scattered out of it, and what is left is orange and red. 🌅

(simulated answer)"""

_SKY_ZH: Final = """\
天空是蓝色的，因为空气对短波长的光散射得更强。

1. 太阳光里包含所有颜色的光。
2. 光穿过大气时，会遇到比光的波长小得多的气体分子。
3. 蓝光被散射的程度大约是红光的四倍（瑞利散射）。

所以无论你看向天空的哪个方向，都会有蓝光进入你的眼睛。🌤️
日落时光线穿过的空气更厚，蓝光已经散开，剩下的就是橙色和红色。🌅

（模拟回答）"""

_HAIKU: Final = """\
Small words find their way 🌊
token by token they run
past a reload — whole ✨

(simulated answer)"""

_COUNT: Final = re.compile(r"count to (\d{1,4})", re.IGNORECASE)
_HAN: Final = re.compile(r"[\u4e00-\u9fff]")
# Words with the space before them, single CJK characters and emoji: about what a tokenizer does.
_TOKEN: Final = re.compile(r"\s*[\w'’-]{1,12}|\s*[^\w\s]|\s+")


def answer_to(question: str) -> str:
    """The whole answer."""
    if count := _COUNT.search(question):
        numbers = " ".join(str(n) for n in range(1, int(count[1]) + 1))
        return f"{numbers}\n\n(simulated answer)"
    asked = " ".join(question.split())
    if _HAN.search(question):
        return _SKY_ZH if "天空" in question else _any_zh(asked)
    lowered = question.lower()
    if "sky" in lowered and "blue" in lowered:
        return _SKY
    if "haiku" in lowered:
        return _HAIKU
    if re.search(r"\blong\b", lowered):
        return "\n\n".join([_any(asked), *([_SKY] * 4)])
    return _any(asked)


def tokens_of(text: str) -> list[str]:
    """The text in small pieces that join to exactly the text."""
    pieces: list[str] = []
    for piece in _TOKEN.findall(text):
        if _HAN.search(piece):
            pieces.extend(piece)
        else:
            pieces.append(piece)
    return pieces


def _any(asked: str) -> str:
    return (
        f"You asked: “{asked[:200]}”.\n\n"
        "I am the simulated model of hub dev: I know a few answers by heart and nothing else. "
        "What you see is real all the same: this text left an HTTP upstream token by token, a "
        "worker relayed it, Redis carried it, and your stream showed it as it came. 🚀\n\n"
        "Name a real LLM in HUB_UPSTREAMS__… to have a real answer.\n\n"
        "(simulated answer)"
    )


def _any_zh(asked: str) -> str:
    return (
        f"你问的是：“{asked[:100]}”。\n\n"
        "我是 hub dev 的模拟模型，只会背几个固定的答案。\n"
        "不过你看到的过程是真实的：这些文字一个一个地离开上游，由 worker 转发，"
        "经过 Redis，出现在你的屏幕上。🚀\n\n"
        "（模拟回答）"
    )
