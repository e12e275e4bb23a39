"""What an application's own code imports to produce answers.

    app = App()

    @app.producer()
    async def support(run: Run):
        yield Status("Searching the handbook")
        yield "The answer"

The worker runs such functions in child processes (child.py) and publishes what they yield.
"""

from hub.core.parts import (
    Annotations,
    Data,
    File,
    Part,
    Reasoning,
    ReasoningDetails,
    Replace,
    Source,
    Status,
    StepEnd,
    StepStart,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from hub.core.steering import SteeringMessage
from hub.producer.answer import Answer, SyncAnswer
from hub.producer.app import App
from hub.producer.failures import Failed, InputTimeout, Stopped, UpstreamFailed, UpstreamReport
from hub.producer.inputs import Suspend
from hub.producer.run import Run, SyncRun

__all__ = [
    "Annotations",
    "Answer",
    "App",
    "Data",
    "Failed",
    "File",
    "InputTimeout",
    "Part",
    "Reasoning",
    "ReasoningDetails",
    "Replace",
    "Run",
    "Source",
    "Status",
    "SteeringMessage",
    "StepEnd",
    "StepStart",
    "Stopped",
    "Suspend",
    "SyncAnswer",
    "SyncRun",
    "Text",
    "ToolCall",
    "ToolCallDelta",
    "ToolResult",
    "UpstreamFailed",
    "UpstreamReport",
    "Usage",
]
