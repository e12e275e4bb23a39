"""The SDKs of OpenAI and Anthropic. A test imports them when it first uses one: `sdks.openai`.

An import takes seconds, and each process of pytest imports all files of tests. tests/sharing.py
therefore runs the tests that use an SDK in one process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import anthropic.lib.streaming._messages
    import openai.types.responses

    __all__ = ["anthropic", "openai"]
else:
    from importlib import import_module

    _IMPORTED = {
        "anthropic": "anthropic.lib.streaming._messages",
        "openai": "openai.types.responses",
    }

    def __getattr__(name: str) -> object:
        if name not in _IMPORTED:
            raise AttributeError(name)
        import_module(_IMPORTED[name])
        return import_module(name)
