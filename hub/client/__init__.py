"""The Python client: publish, follow a user's stream, ask and stop, over the hub's HTTP."""

from __future__ import annotations

from hub.client.http import HubClient, HubClientError, StreamEvent

__all__ = ["HubClient", "HubClientError", "StreamEvent"]
