"""The streams of connected clients: admission, delivery, recovery, heartbeats and presence."""
