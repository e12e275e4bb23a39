"""Why a connection ends: a label, and whether the client should reconnect.

`hub.bye`, the logs and the metrics use the same label.
"""

from __future__ import annotations

import enum


class CloseReason(enum.Enum):
    """`(label, reconnect)`: the reason in `hub.bye`, and whether the client should reconnect."""

    DRAINING = ("draining", True)
    SLOW = ("slow", True)
    BROKER_AWAY = ("broker_away", True)
    FULL = ("full", True)
    EXPIRED = ("expired", False)
    TOO_OLD = ("max_age", True)
    REPLACED = ("replaced", False)
    DISCONNECTED = ("disconnected", False)
    TRIMMED = ("trimmed", True)
    POLLED = ("polled", True)
    ENDED = ("ended", False)
    CLIENT_DISCONNECTED = ("client_disconnected", False)

    def __init__(self, label: str, reconnect: bool) -> None:
        self.label = label
        self.reconnect = reconnect
