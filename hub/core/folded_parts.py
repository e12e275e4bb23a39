"""The fold of an answer's parts. Its code is in the client distribution, which the hub needs.

So the record, each snapshot and the Python client fold alike. It does no I/O, and importing it
imports nothing else of the client.
"""

from __future__ import annotations

from hub_client.parts import FoldedParts, visible_parts

__all__ = ["FoldedParts", "visible_parts"]
