"""The formats of reasoning details: whose reasoning a detail holds.

Source: openrouter.ai, "Reasoning tokens". Only the vendor of a format accepts its details back.
"""

from __future__ import annotations

from typing import Final

ANTHROPIC: Final = "anthropic-claude-v1"
"""Details that hold a block of Anthropic's thinking with its signature, or a redacted block."""
