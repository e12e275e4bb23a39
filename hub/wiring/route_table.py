"""The route classes of each listener, from which the OpenAPI document is built.

A new class of routes gets its line here. tests/http/test_openapi.py compares the table with the
routes that the applications serve.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.compat.ag_ui.routes import AgUiRoutes
from hub.compat.ai_sdk.routes import AiSdkRoutes
from hub.compat.anthropic.errors import ANTHROPIC_ERRORS
from hub.compat.anthropic.routes import MessagesRoutes
from hub.compat.errors import COMPAT_ERRORS
from hub.compat.openai_chat.routes import ChatRoutes
from hub.compat.openai_responses.compact_routes import CompactRoutes
from hub.compat.openai_responses.routes import ResponsesRoutes
from hub.compat.openai_responses.websocket_routes import ResponsesWebSocketRoutes
from hub.compat.requests import CompatRequests
from hub.http.applications import Routes
from hub.http.openapi.document import build_document
from hub.http.openapi.routes import OpenApiRoutes
from hub.http.routes.active_generations import ActiveGenerationRoutes
from hub.http.routes.connect import ConnectRoutes
from hub.http.routes.console import ConsoleRoutes
from hub.http.routes.demo import DemoRoutes
from hub.http.routes.generations import GenerationRoutes
from hub.http.routes.inputs import InputRoutes
from hub.http.routes.jobs import JobRoutes
from hub.http.routes.operator_generations import OperatorGenerationRoutes
from hub.http.routes.own_generations import OwnGenerationRoutes
from hub.http.routes.probes import MetricsRoutes, NodeProbeRoutes, WorkerProbeRoutes
from hub.http.routes.producer_control import ProducerControlRoutes
from hub.http.routes.producers import ProducerRoutes
from hub.http.routes.publish import PublishRoutes
from hub.http.routes.steering import SteeringRoutes
from hub.http.routes.tickets import TicketRoutes
from hub.http.routes.usage import UsageRoutes
from hub.http.routes.user_data import UserDataRoutes
from hub.http.routes.users import UserRoutes
from hub.http.routes.websocket import WebSocketRoutes
from hub.http.static_files import JsClientRoutes
from hub.inbox.internal import UserInboxRoutes
from hub.inbox.routes import InboxRoutes
from hub.push.routes import PushRoutes
from hub.webhooks.routes import WebhookRoutes

DIALECTS: Final = (
    ChatRoutes,
    ResponsesRoutes,
    ResponsesWebSocketRoutes,
    CompactRoutes,
    MessagesRoutes,
    AiSdkRoutes,
    AgUiRoutes,
)
"""The client dialects under /v1. A new dialect is one folder in hub/compat and its name here."""

ERROR_FORMATS: Final = (ANTHROPIC_ERRORS, COMPAT_ERRORS)
"""The forms of errors that are not problem documents; the first one whose prefix fits counts."""

LISTENERS: Final[Mapping[str, tuple[type, ...]]] = {
    "public": (
        ConnectRoutes,
        WebSocketRoutes,
        GenerationRoutes,
        OwnGenerationRoutes,
        SteeringRoutes,
        InputRoutes,
        TicketRoutes,
        PushRoutes,
        InboxRoutes,
        *DIALECTS,
        JsClientRoutes,
        DemoRoutes,
    ),
    "internal": (
        PublishRoutes,
        UserRoutes,
        UserInboxRoutes,
        UserDataRoutes,
        UsageRoutes,
        NodeProbeRoutes,
        ActiveGenerationRoutes,
        OperatorGenerationRoutes,
        ProducerRoutes,
        JobRoutes,
        ProducerControlRoutes,
        WebhookRoutes,
        ConsoleRoutes,
        MetricsRoutes,
        OpenApiRoutes,
    ),
    "worker": (WorkerProbeRoutes, MetricsRoutes),
}


def build_openapi(listener: str) -> dict[str, Any]:
    """Build the OpenAPI document of a listener."""
    return build_document(listener, LISTENERS[listener], ERROR_FORMATS)


def compat_routes(requests: CompatRequests) -> list[Routes]:
    """Build the routes of every client dialect."""
    return [dialect(requests) for dialect in DIALECTS]
