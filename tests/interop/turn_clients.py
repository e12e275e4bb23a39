"""The clients that hold conversations with tools, as `docs/clients/tested.md` lists them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version as installed_version
from typing import Any, Final, Literal

from tests.interop.clients import npm_version
from tests.interop.programs import PYTHON

_CHAT: Final = "chat completions"
_RESPONSES: Final = "Responses"
_MESSAGES: Final = "Messages"
_BOTH: Final = frozenset({"stream", "whole"})
_WHOLE: Final = "the whole history"
_ITEMS: Final = "`item_reference`"
_PREVIOUS: Final = "`previous_response_id`"


@dataclass(frozen=True, kw_only=True)
class TurnKind:
    """One way of a client to hold a conversation.

    history: what its next request has of the conversation. forgets: how the client reads answers
    (`stream` or `whole`) whose reasoning it does not send back.
    """

    name: str
    api: str = _RESPONSES
    history: str = _WHOLE
    forgets: frozenset[str] = frozenset()
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class TurnClient:
    """A client. slug: begins the names of its conversations. program: holds them. reads: how it
    reads the answers.
    """

    name: str
    slug: str
    version: Callable[[], str]
    program: Literal["node", "openai", "anthropic", "agents", "llama_index", "codex"]
    kinds: tuple[TurnKind, ...]
    reads: tuple[str, ...] = ("stream", "whole")

    def conversations(self) -> Iterator[tuple[str, bool]]:
        """Yield the name of each conversation, and whether the client sends reasoning back."""
        for kind in self.kinds:
            for read in self.reads:
                yield f"{self.slug}-{kind.name}-{read}", read not in kind.forgets


@cache
def _locked_versions(program: str) -> dict[str, str]:
    """Return the versions of the packages of a Python program that has its own."""
    lock: Any = tomllib.loads((PYTHON / f"{program}.py.lock").read_text())
    return {package["name"]: package["version"] for package in lock["package"]}


def locked_version(program: str, package: str) -> str:
    """Return the version of a package of a Python program that has its own."""
    return _locked_versions(program)[package]


def _ai(major: int, *packages: str) -> TurnClient:
    return TurnClient(
        name="`ai`, `@ai-sdk/openai`, `@ai-sdk/openai-compatible` (npm)",
        slug=f"ai{major}",
        version=partial(npm_version, *packages),
        program="node",
        kinds=(
            TurnKind(name="responses", history=_ITEMS, notes="`@ai-sdk/openai`"),
            TurnKind(name="thinker", history=_ITEMS, notes="`@ai-sdk/openai`, reasoning model"),
            TurnKind(name="items", notes="`@ai-sdk/openai`, reasoning model, `store: false`"),
            TurnKind(
                name="chat", api=_CHAT, forgets=_BOTH, notes="`@ai-sdk/openai`: `openai.chat(…)`"
            ),
            TurnKind(name="compatible", api=_CHAT, notes="`@ai-sdk/openai-compatible`"),
        ),
    )


_CHAT_KIND: Final = TurnKind(name="chat", api=_CHAT)
_PREVIOUS_KIND: Final = TurnKind(name="previous", history=_PREVIOUS)
_THINKER_KIND: Final = TurnKind(name="thinker", notes="reasoning model, `store: false`")

_MESSAGES_KINDS: Final = (
    TurnKind(name="messages", api=_MESSAGES, notes="an LLM with chat completions"),
    TurnKind(name="thinker", api=_MESSAGES, notes="reasoning model"),
    TurnKind(name="claude", api=_MESSAGES, notes="an LLM with Anthropic's API, which signs"),
)

TURN_CLIENTS: Final = (
    _ai(5, "ai5", "ai5-openai", "ai5-openai-compatible"),
    _ai(6, "ai6", "ai6-openai", "ai6-openai-compatible"),
    _ai(7, "ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible"),
    TurnClient(
        name="`openai` (npm)",
        slug="openai-js",
        version=partial(npm_version, "openai"),
        program="node",
        kinds=(
            _CHAT_KIND,
            TurnKind(name="runner", api=_CHAT, forgets=_BOTH, notes="`runTools`"),
            _PREVIOUS_KIND,
            _THINKER_KIND,
        ),
    ),
    TurnClient(
        name="`openai` (PyPI)",
        slug="openai",
        version=partial(installed_version, "openai"),
        program="openai",
        kinds=(_CHAT_KIND, _PREVIOUS_KIND, _THINKER_KIND),
    ),
    TurnClient(
        name="`@anthropic-ai/sdk` (npm)",
        slug="anthropic-js",
        version=partial(npm_version, "@anthropic-ai/sdk"),
        program="node",
        kinds=(
            *_MESSAGES_KINDS,
            TurnKind(name="runner", api=_MESSAGES, notes="`beta.messages.toolRunner`"),
        ),
    ),
    TurnClient(
        name="`anthropic` (PyPI)",
        slug="anthropic",
        version=partial(installed_version, "anthropic"),
        program="anthropic",
        kinds=(
            *_MESSAGES_KINDS,
            TurnKind(name="runner", api=_MESSAGES, notes="`beta.messages.tool_runner`"),
        ),
    ),
    TurnClient(
        name="`openai-agents` (PyPI)",
        slug="agents",
        version=partial(locked_version, "turns_agents", "openai-agents"),
        program="agents",
        kinds=(
            TurnKind(
                name="chat",
                api=_CHAT,
                forgets=_BOTH,
                notes="`OpenAIProvider(…, use_responses=False)`",
            ),
            TurnKind(name="list", notes="`to_input_list()`"),
            TurnKind(name="session", notes="`SQLiteSession`"),
            TurnKind(name="previous", history=_PREVIOUS, notes="`auto_previous_response_id=True`"),
            TurnKind(name="thinker", notes="reasoning model, `ModelSettings(store=False, …)`"),
        ),
    ),
    TurnClient(
        name="`langchain-openai` (PyPI)",
        slug="langchain",
        version=partial(locked_version, "turns_agents", "langchain-openai"),
        program="agents",
        kinds=(
            TurnKind(name="chat", api=_CHAT, forgets=_BOTH),
            TurnKind(
                name="responses", forgets=frozenset({"stream"}), notes="`use_responses_api=True`"
            ),
            TurnKind(name="previous", history=_PREVIOUS, notes="`use_previous_response_id=True`"),
            TurnKind(name="thinker", notes="reasoning model, `store=False`"),
        ),
    ),
    TurnClient(
        name="`@langchain/openai` (npm)",
        slug="langchain-js",
        version=partial(npm_version, "@langchain/openai"),
        program="node",
        kinds=(
            TurnKind(name="chat", api=_CHAT, forgets=_BOTH),
            TurnKind(name="responses", notes="`useResponsesApi: true`"),
            TurnKind(
                name="thinker",
                forgets=frozenset({"stream"}),
                notes="reasoning model, `zdrEnabled: true`",
            ),
        ),
    ),
    TurnClient(
        name="`llama-index-llms-openai` (PyPI)",
        slug="llama-index",
        version=partial(locked_version, "turns_llama_index", "llama-index-llms-openai"),
        program="llama_index",
        kinds=(
            TurnKind(
                name="chat",
                api=_CHAT,
                forgets=_BOTH,
                notes="`OpenAI`: see [LlamaIndex](openai-sdk.md#llamaindex)",
            ),
            TurnKind(
                name="responses",
                forgets=_BOTH,
                notes="`OpenAIResponses`",
            ),
            TurnKind(
                name="previous",
                history=_PREVIOUS,
                notes="`OpenAIResponses(…, track_previous_responses=True)`",
            ),
        ),
    ),
    TurnClient(
        name="`@openai/codex` (npm)",
        slug="codex",
        version=partial(npm_version, "@openai/codex"),
        program="codex",
        reads=("stream",),
        kinds=(
            TurnKind(name="exec", notes="[configuration](openai-sdk.md#codex-cli)"),
            TurnKind(name="thinker", notes="reasoning model"),
        ),
    ),
)
