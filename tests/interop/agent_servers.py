"""The agent servers that the tests put behind the hub."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version as installed_version
from typing import Final, NamedTuple

from tests.interop.clients import npm_version


class AgentServer(NamedTuple):
    """A server. kind: that of its upstream."""

    name: str
    version: Callable[[], str]
    kind: str


_PYDANTIC_AI: Final = partial(installed_version, "pydantic-ai-slim")
AGENT_SERVERS: Final = (
    AgentServer("PydanticAI (PyPI), `AGUIAdapter`", _PYDANTIC_AI, "ag_ui"),
    AgentServer("PydanticAI (PyPI), `VercelAIAdapter`", _PYDANTIC_AI, "ai_sdk"),
    AgentServer("`ai` (npm), `streamText`", partial(npm_version, "ai"), "ai_sdk"),
    AgentServer("`ai` (npm), `createUIMessageStream`", partial(npm_version, "ai"), "ai_sdk"),
)
