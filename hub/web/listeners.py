"""Which resources each listener may serve: what the document of openapi.py is made from.

A new resource gets its line here; tests/web/test_openapi.py compares with what is really served.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.web.client_module import JsClientRoutes
from hub.web.connect import ConnectRoutes
from hub.web.console import ConsoleRoutes
from hub.web.demo import DemoRoutes
from hub.web.generations import GenerationRoutes
from hub.web.health import HealthRoutes
from hub.web.metrics import MetricsRoutes
from hub.web.openapi import OpenApiRoutes, build_document
from hub.web.publish import PublishRoutes
from hub.web.publish_batch import PublishBatchRoutes
from hub.web.running import ActiveGenerationRoutes
from hub.web.tickets import TicketRoutes
from hub.web.usage import UsageRoutes
from hub.web.users import UserRoutes
from hub.web.v1_agui import AgUiRoutes
from hub.web.v1_chat import ChatRoutes
from hub.web.v1_responses import ResponseRoutes
from hub.web.v1_ui import UiRoutes
from hub.web.websocket import WebSocketRoutes
from hub.web.worker import WorkerRoutes

LISTENERS: Final[Mapping[str, tuple[type, ...]]] = {
    "public": (
        ConnectRoutes,
        WebSocketRoutes,
        GenerationRoutes,
        TicketRoutes,
        ChatRoutes,
        ResponseRoutes,
        UiRoutes,
        AgUiRoutes,
        JsClientRoutes,
        DemoRoutes,
    ),
    "internal": (
        PublishRoutes,
        PublishBatchRoutes,
        UserRoutes,
        UsageRoutes,
        HealthRoutes,
        ActiveGenerationRoutes,
        ConsoleRoutes,
        MetricsRoutes,
        OpenApiRoutes,
    ),
    "worker": (WorkerRoutes, MetricsRoutes),
}


def build_openapi() -> dict[str, Any]:
    """The hub's own."""
    return build_document(LISTENERS)
