"""The answers of the simulated LLM: the same prompt always gets the same answer."""

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
# Words with the space before them, single CJK characters and emoji, much like a real tokenizer.
_TOKEN: Final = re.compile(r"\s*[\w'’-]{1,12}|\s*[^\w\s]|\s+")


def choose_answer(prompt: str) -> str:
    """Return the whole answer to a prompt."""
    if count := _COUNT.search(prompt):
        numbers = " ".join(str(n) for n in range(1, int(count[1]) + 1))
        return f"{numbers}\n\n(simulated answer)"
    line = " ".join(prompt.split())
    if _HAN.search(prompt):
        return _SKY_ZH if "天空" in prompt else _build_default_zh(line)
    lowered = prompt.lower()
    if "sky" in lowered and "blue" in lowered:
        return _SKY
    if "haiku" in lowered:
        return _HAIKU
    if re.search(r"\blong\b", lowered):
        return "\n\n".join([_build_default(line), *([_SKY] * 4)])
    return _build_default(line)


def split_tokens(text: str) -> list[str]:
    """Split a text into tokens, which join to exactly the same text."""
    tokens: list[str] = []
    for token in _TOKEN.findall(text):
        if _HAN.search(token):
            tokens.extend(token)
        else:
            tokens.append(token)
    return tokens


def _build_default(prompt: str) -> str:
    return (
        f"You asked: “{prompt[:200]}”\n\n"
        "I am the simulated model of hub dev. I have a few built-in answers and nothing else. "
        "The way of this text is real: an HTTP upstream sent it token by token, a worker "
        "relayed it, Redis stored it, and your stream delivered it. 🚀\n\n"
        "Configure an LLM in HUB_UPSTREAMS__… to get real answers.\n\n"
        "(simulated answer)"
    )


def _build_default_zh(prompt: str) -> str:
    return (
        f"你问的是：“{prompt[:100]}”。\n\n"
        "我是 hub dev 的模拟模型，只会背几个固定的答案。\n"
        "不过你看到的过程是真实的：这些文字一个一个地离开上游，由 worker 转发，"
        "经过 Redis，出现在你的屏幕上。🚀\n\n"
        "（模拟回答）"
    )
