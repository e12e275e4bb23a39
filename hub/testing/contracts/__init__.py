"""Contract suites: tests that every backend must pass.

A test module subclasses the suites and provides the fixture `open_backend` (contracts.node):

    from hub.testing.contracts import EventsContract, QueueContract

    class TestEvents(EventsContract): ...
    class TestQueue(QueueContract): ...

The suites need pytest and pytest-asyncio with `asyncio_mode = "auto"`. docs/contributing/testing.md
has a whole example. Only this package imports pytest.
"""

from __future__ import annotations

from hub.testing.contracts.chats import ChatsContract
from hub.testing.contracts.deliveries import DeliveriesContract
from hub.testing.contracts.events import EventsContract
from hub.testing.contracts.generations import GenerationsContract
from hub.testing.contracts.inboxes import InboxesContract
from hub.testing.contracts.inputs import InputsContract
from hub.testing.contracts.node import BackendOptions, OpenBackend
from hub.testing.contracts.push import PushSubscriptionsContract
from hub.testing.contracts.queue import QueueContract
from hub.testing.contracts.steering import SteeringContract
from hub.testing.contracts.stores import (
    CommandsContract,
    TicketsContract,
    TopicPresenceContract,
    UsageContract,
)
from hub.testing.contracts.topics import TopicAnswersContract
from hub.testing.contracts.user_data import UserDataContract
from hub.testing.contracts.user_presence import UserPresenceContract
from hub.testing.contracts.webhooks import WebhooksContract

__all__ = [
    "BackendOptions",
    "ChatsContract",
    "CommandsContract",
    "DeliveriesContract",
    "EventsContract",
    "GenerationsContract",
    "InboxesContract",
    "InputsContract",
    "OpenBackend",
    "PushSubscriptionsContract",
    "QueueContract",
    "SteeringContract",
    "TicketsContract",
    "TopicAnswersContract",
    "TopicPresenceContract",
    "UsageContract",
    "UserDataContract",
    "UserPresenceContract",
    "WebhooksContract",
]
