"""The agents of LangGraph and PydanticAI. A test imports them when it first uses one.

An import takes seconds, and each process of pytest imports all files of tests. tests/sharing.py
therefore runs the tests that use a framework in one process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.producer import langgraph_graphs as langgraph
    from tests.producer import pydantic_ai_agents as pydantic_ai

    __all__ = ["langgraph", "pydantic_ai"]
else:
    from importlib import import_module

    _IMPORTED = {"langgraph": "langgraph_graphs", "pydantic_ai": "pydantic_ai_agents"}

    def __getattr__(name: str) -> object:
        if name not in _IMPORTED:
            raise AttributeError(name)
        return import_module(f"tests.producer.{_IMPORTED[name]}")
