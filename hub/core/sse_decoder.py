"""The decoder of server-sent events. Its code is in the client distribution, which the hub needs.

It does no I/O, and importing it imports nothing else of the client.
"""

from __future__ import annotations

from hub_client.sse_decoder import ServerSentEvent, SseDecoder, StreamTooLarge

__all__ = ["ServerSentEvent", "SseDecoder", "StreamTooLarge"]
