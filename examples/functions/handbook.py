"""Answers from a handbook, with citations: search, name the sources, ask an LLM.

    cd examples/functions && hub dev --app handbook:app --reload

The LLM is the simulated one of `hub dev`; the name of any other upstream takes its place.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hub.producer import App, Part, Run, Source, Status

PAGES = [
    ("https://example.com/refunds", "Refunds", "A refund takes five days after the return."),
    ("https://example.com/returns", "Returns", "An order can go back within 30 days, free."),
    ("https://example.com/delivery", "Delivery", "A parcel takes two days in the country."),
]
RULES = "Answer only from these pages, and cite them as [1], [2]:\n\n"


@asynccontextmanager
async def open_index() -> AsyncIterator[sqlite3.Connection]:
    """Build the search index once in each process; it is `run.state`."""
    index = sqlite3.connect(":memory:", check_same_thread=False)  # a step has a thread
    index.execute(
        "CREATE VIRTUAL TABLE pages USING fts5(url UNINDEXED, title, text, tokenize=porter)"
    )
    index.executemany("INSERT INTO pages VALUES (?, ?, ?)", PAGES)
    yield index
    index.close()


app = App(lifespan=open_index)


def search(index: sqlite3.Connection, prompt: str) -> list[tuple[str, str, str]]:
    """Return the url, the title and the text of up to three pages, the best one first."""
    words = " OR ".join(f'"{word}"' for word in re.findall(r"\w{4,}", prompt))
    query = "SELECT url, title, text FROM pages WHERE pages MATCH ? ORDER BY rank LIMIT 3"
    return index.execute(query, [words]).fetchall() if words else []


@app.producer(retries=2, timeout_seconds=120)
async def handbook(run: Run) -> AsyncIterator[str | Part]:
    yield Status("Searching the handbook")
    # Stored: a later attempt, after a crash, does not search again.
    pages = await run.step("search", search, run.state, run.prompt)
    if not pages:
        yield "The handbook says nothing about that."
        return
    for url, title, _ in pages:
        yield Source(url, title=title)
    yield Status("Writing the answer")
    texts = "\n".join(f"[{n}] {title}: {text}" for n, (_, title, text) in enumerate(pages, 1))
    messages = [{"role": "system", "content": RULES + texts}, *run.messages]
    async for part in run.ask(messages, upstream="simulated"):
        yield part
