"""The objects of the Agent2Agent protocol that an agent sends, in the forms of 1.0 and of 0.3.

Source: a2a-protocol.org, specification 1.0, section 4. Fields that the hub does not use are left
out, and each field may be absent.
"""

from __future__ import annotations

from typing import Any

import msgspec

from hub.upstreams.content import ContentText


class PartFile(msgspec.Struct, gc=False):
    """The file of a part of 0.3."""

    uri: str | None = None
    bytes: str | None = None
    mimeType: str | None = None  # noqa: N815 - the names of the wire format
    name: str | None = None


class TaskPart(msgspec.Struct, gc=False):
    """A text, a file or JSON. Version 0.3 has `file`; 1.0 has `raw` and `url`."""

    text: ContentText = None
    raw: str | None = None
    url: str | None = None
    file: PartFile | None = None
    data: Any = msgspec.UNSET
    filename: str | None = None
    mediaType: str | None = None  # noqa: N815
    metadata: dict[str, Any] | None = None


class TaskArtifact(msgspec.Struct, gc=False):
    """An output of a task."""

    artifactId: str | None = None  # noqa: N815
    name: str | None = None
    parts: list[TaskPart] | None = None


class TaskMessage(msgspec.Struct, gc=False):
    """A message of the agent."""

    messageId: str | None = None  # noqa: N815
    contextId: str | None = None  # noqa: N815
    taskId: str | None = None  # noqa: N815
    parts: list[TaskPart] | None = None


class TaskStatus(msgspec.Struct, gc=False):
    """The state of a task, as 1.0 or 0.3 write it."""

    state: str | None = None
    message: TaskMessage | None = None


class Task(msgspec.Struct, gc=False):
    """A task with all that it has so far."""

    id: Any = None
    contextId: str | None = None  # noqa: N815
    status: TaskStatus | None = None
    artifacts: list[TaskArtifact] | None = None


class StatusUpdate(msgspec.Struct, gc=False):
    """Another state."""

    taskId: str | None = None  # noqa: N815
    contextId: str | None = None  # noqa: N815
    status: TaskStatus | None = None


class ArtifactUpdate(msgspec.Struct, gc=False):
    """An artifact, or with `append` more parts of it."""

    taskId: str | None = None  # noqa: N815
    contextId: str | None = None  # noqa: N815
    artifact: TaskArtifact | None = None
    append: bool | None = None
