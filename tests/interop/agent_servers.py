"""The agent servers that the tests put behind the hub."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version as installed_version
from typing import Final, NamedTuple

from tests.interop.clients import npm_version
from tests.interop.turn_clients import locked_version


class AgentServer(NamedTuple):
    """A server. kind: that of its upstream."""

    name: str
    version: Callable[[], str]
    kind: str


_PYDANTIC_AI: Final = partial(installed_version, "pydantic-ai-slim")
_A2A: Final = partial(locked_version, "a2a_agent", "a2a-sdk")
_A2A_OLD: Final = partial(locked_version, "a2a_agent_03", "a2a-sdk")
AGENT_SERVERS: Final = (
    AgentServer("PydanticAI (PyPI), `AGUIAdapter`", _PYDANTIC_AI, "ag_ui"),
    AgentServer("PydanticAI (PyPI), `VercelAIAdapter`", _PYDANTIC_AI, "ai_sdk"),
    AgentServer("`ai` (npm), `streamText`", partial(npm_version, "ai"), "ai_sdk"),
    AgentServer("`ai` (npm), `createUIMessageStream`", partial(npm_version, "ai"), "ai_sdk"),
    AgentServer("`a2a-sdk` (PyPI), A2A 1.0 over JSON-RPC and HTTP+JSON", _A2A, "a2a"),
    AgentServer("`a2a-sdk` (PyPI), A2A 0.3 over JSON-RPC", _A2A_OLD, "a2a"),
)
