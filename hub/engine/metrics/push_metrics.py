"""The metrics of push notifications."""

from __future__ import annotations

from hub.core.metrics import Counter, MetricSet


class PushMetrics(MetricSet):
    """What one worker has done with notifications and messages."""

    def __init__(self) -> None:
        self.notifications = Counter(
            "hub_push_notifications",
            "Notifications that were due: pushed, or why not (taken by a connection, read in the "
            "inbox, muted, no_device).",
            "outcome",
        )
        self.messages = Counter(
            "hub_push_messages",
            "Messages to push services by their outcome; later means that they are sent again.",
            "channel",
            "outcome",
        )
