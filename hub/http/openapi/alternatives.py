"""Types whose schema is a choice between several, one of which a client sends.

msgspec has no unions of untagged Structs, so the type that reads the JSON has all fields. Generated
clients are clearer with one type for each choice. The fields of the other choices may be present
with the value that means absent, which many JSON writers send.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta, Struct

from hub.api.producer_responses import AttemptResponse
from hub.api.publish_requests import Recipients
from hub.core.channel import TopicName, UserId
from hub.http.routes.producers import StartedAgain, SteeredResponse

_False = Annotated[bool, Meta(extra_json_schema={"enum": [False]})]


class ToUser(Struct, frozen=True, forbid_unknown_fields=True):
    """One user receives the event."""

    user: UserId
    users: None = None
    topic: None = None
    all: _False | None = None


class ToUsers(Struct, frozen=True, forbid_unknown_fields=True):
    """Several users receive the event."""

    users: Annotated[list[UserId], Meta(min_length=1)]
    user: None = None
    topic: None = None
    all: _False | None = None


class ToTopic(Struct, frozen=True, forbid_unknown_fields=True):
    """The followers of a topic receive the event."""

    topic: TopicName
    user: None = None
    users: None = None
    all: _False | None = None


class ToAll(Struct, frozen=True, forbid_unknown_fields=True):
    """Everyone receives the event."""

    all: Annotated[bool, Meta(extra_json_schema={"enum": [True]})]
    user: None = None
    users: None = None
    topic: None = None


ALTERNATIVES: Final[Mapping[type[Struct], tuple[type[Struct], ...]]] = {
    Recipients: (ToUser, ToUsers, ToTopic, ToAll),
    StartedAgain: (AttemptResponse, SteeredResponse),
}
"""The alternatives of a type."""
