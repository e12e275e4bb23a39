"""Types whose schema is a choice between several, one of which a client sends.

msgspec has no unions of untagged Structs, so the type that reads the JSON has all fields. Generated
clients are clearer with one type for each choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta, Struct

from hub.api.publish_requests import Recipients
from hub.core.channel import TopicName, UserId


class ToUser(Struct, frozen=True, forbid_unknown_fields=True):
    """One user receives the event."""

    user: UserId


class ToUsers(Struct, frozen=True, forbid_unknown_fields=True):
    """Several users receive the event."""

    users: Annotated[list[UserId], Meta(min_length=1)]


class ToTopic(Struct, frozen=True, forbid_unknown_fields=True):
    """The followers of a topic receive the event."""

    topic: TopicName


class ToAll(Struct, frozen=True, forbid_unknown_fields=True):
    """Everyone receives the event."""

    all: Annotated[bool, Meta(extra_json_schema={"enum": [True]})]


ALTERNATIVES: Final[Mapping[type[Struct], tuple[type[Struct], ...]]] = {
    Recipients: (ToUser, ToUsers, ToTopic, ToAll)
}
"""The alternatives of a type."""
