"""The function that answers in `hub dev` when nothing else is configured: a sample agent.

It answers questions about an imaginary shop, as an agent does: it thinks, searches a handbook,
calls a tool, names its sources, and shows a picture. Before it refunds an order, it asks the user.
All of it is built in, and no LLM is needed. What the handbook does not have, it asks the simulated
LLM of `hub dev`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from hub.producer import (
    App,
    Data,
    File,
    Part,
    Reasoning,
    Run,
    Source,
    Status,
    StepEnd,
    StepStart,
    ToolCall,
    ToolResult,
)

_LLM: Final = "simulated"  # the upstream that `hub dev` adds
_TOOL_SECONDS: Final = 0.4
_WORD_SECONDS: Final = 0.025
_WORDS: Final = re.compile(r"\w+")


class _Page(NamedTuple):
    title: str
    words: frozenset[str]  # of the questions that it answers
    text: str

    @property
    def url(self) -> str:
        return f"https://example.com/handbook/{self.title.lower()}"


_HANDBOOK: Final = [
    _Page(
        "Refunds",
        frozenset({"refund", "refunds", "return", "returns"}),
        "You can send an order back within **30 days**. The money is on your card **five days** "
        "after the parcel has arrived here",
    ),
    _Page(
        "Delivery",
        frozenset({"delivery", "order", "parcel", "refund", "refunds"}),
        "A parcel takes two days. Its label has a code for the way back, so a return is free",
    ),
    _Page(
        "About",
        frozenset({"hello", "hi", "help", "agent", "sample"}),
        "This is the sample agent of `hub dev`. It knows refunds and deliveries; "
        "`hub dev --app answers:app` puts your own function in its place",
    ),
]
_ORDER: Final = {"number": 981, "item": "Teapot", "state": "delivered", "days_ago": 3}
_PICTURE: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" width="440" height="96" font-family="sans-serif" \
font-size="13" text-anchor="middle">
<path d="M60 36H380" stroke="#b9bcc9" stroke-width="4"/>
<path d="M60 36H220" stroke="#4a45c9" stroke-width="4"/>
<g fill="#4a45c9"><circle cx="60" cy="36" r="10"/><circle cx="220" cy="36" r="10"/></g>
<circle cx="380" cy="36" r="9" fill="#fff" stroke="#b9bcc9" stroke-width="3"/>
<g fill="#16171b"><text x="60" y="72">ordered</text><text x="220" y="72">delivered</text>
<text x="380" y="72">returned</text></g></svg>"""

_APPROVE: Final = "Approve"
_REFUND_REQUEST: Final = re.compile(r"\brefund my\b", re.IGNORECASE)
_MARKDOWN_REQUEST: Final = re.compile(r"\bmarkdown\b", re.IGNORECASE)
_MARKDOWN: Final = """\
## A table
| Word | Language | Direction |
|------|----------|----------:|
| stream | English | left to right |
| 流 | 中文 | left to right |
| تدفق | العربية | right to left |

## Lists
1. Notifications
   - to one user, a topic, or all
   - kept, so that nothing is lost
2. Answers, token by token

> 数据流把数据一段一段地送过来，而不是让人等到最后。

تصل الإجابة كلمة بعد كلمة، ولا يضيع منها شيء.

## Code
```python
async for part in run.ask("why is the sky blue?"):
    yield part  # as soon as it arrives
```

## Mathematics
The scattering of light grows with $1/\\lambda^4$:

$$I \\propto \\frac{1 + \\cos^2\\theta}{\\lambda^4}$$

(sample answer)
"""

app = App()


@app.producer(retries=2)
async def sample_agent(run: Run) -> AsyncIterator[str | Part]:
    """Answer, and then what the user has added meanwhile."""
    async for part in _answer(run):
        yield part
    for message in run.steering():
        async for word in _speak(f"\n\nYou added: {message.text}. I have noted it."):
            yield word


async def _answer(run: Run) -> AsyncIterator[str | Part]:
    """Answer from the handbook; ask the LLM what it does not have, or what names another model."""
    model = None if run.model == "sample_agent" else run.model
    if model is None and _MARKDOWN_REQUEST.search(run.prompt):
        async for word in _speak(_MARKDOWN):
            yield word
        return
    pages = _search(run.prompt) if model is None else []
    if not pages:
        async for part in run.ask(run.messages, _LLM, model, **run.params):
            yield part
        return
    yield Reasoning(
        "The user writes about an order. The handbook has the rules, and the shop the order."
    )
    yield Status("Searching the handbook")
    yield StepStart("search")
    yield ToolCall("search", "search_handbook", json.dumps({"query": run.prompt}))
    await asyncio.sleep(_TOOL_SECONDS)
    yield ToolResult("search", {"pages": [page.title for page in pages]})
    yield StepEnd("search")
    for page in pages:
        yield Source(page.url, title=page.title)
    yield Status("Looking up your last order")
    yield StepStart("look up")
    yield ToolCall("order", "get_last_order", json.dumps({"user": run.user}))
    await asyncio.sleep(_TOOL_SECONDS)
    yield ToolResult("order", _ORDER)
    yield StepEnd("look up")
    yield Data("order", _ORDER, id="981")
    if _REFUND_REQUEST.search(run.prompt):
        async for each in _refund(run):
            yield each
        return
    yield Status("Writing the answer")
    async for word in _speak(_write(pages)):
        yield word
    picture = base64.b64encode(_PICTURE.encode()).decode()
    yield File(data=picture, media_type="image/svg+xml", name="The way of order 981.svg")


async def _refund(run: Run) -> AsyncIterator[str | Part]:
    """Ask the user before the tool runs that pays."""
    yield ToolCall("refund", "refund_order", json.dumps({"number": _ORDER["number"]}))
    prompt = f"Refund order {_ORDER['number']} ({_ORDER['item']})?"
    choice = await run.input("refund", prompt, options=[_APPROVE, "Deny"], tool_call="refund")
    yield ToolResult("refund", {"refunded": choice == _APPROVE})
    outcome = "is on its way to your card" if choice == _APPROVE else "stays with the shop"
    async for word in _speak(
        f"The money for order {_ORDER['number']} {outcome}.\n\n(sample answer)"
    ):
        yield word


async def _speak(text: str) -> AsyncIterator[str]:
    for word in re.findall(r"\s*\S+\s*", text):
        yield word
        await asyncio.sleep(_WORD_SECONDS)


def _search(prompt: str) -> list[_Page]:
    words = {word.lower() for word in _WORDS.findall(prompt)}
    return [page for page in _HANDBOOK if words & page.words]


def _write(pages: list[_Page]) -> str:
    findings = "\n".join(f"- {page.text} [{n}]." for n, page in enumerate(pages, 1))
    return (
        f"{findings}\n\nYour last order, number {_ORDER['number']} ({_ORDER['item']}), "
        f"was delivered {_ORDER['days_ago']} days ago.\n\n(sample answer)"
    )
