"""Parameters that several operations have, as they are described."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from hub.core.channel import UserId
from hub.http.query import MAX_LISTED
from hub.http.routing import Parameter

USER_ID: Final = Parameter("path", "user_id", UserId, "The user's id")
OPEN_USER: Final = Parameter(
    "query",
    "user",
    UserId,
    "Who is asking, where no token is needed (`hub dev`)",
    instead_of="user_id",
)
TOPICS: Final = Parameter("query", "topics", str, "Topics to follow besides, with commas between")
CURSOR: Final = Parameter(
    "query", "cursor", str, "A cursor, `live` (from now) or `start` (all that the log holds)"
)
LAST_EVENT_ID: Final = Parameter(
    "header", "Last-Event-ID", str, "A cursor; comes before the one in the query"
)
IDEMPOTENCY_KEY: Final = Parameter("header", "Idempotency-Key", str, "As `id` in a question")
LOCATED: Final = {"Location": "The generation's own address"}
GENERATION: Final = Parameter("path", "id", str, "The generation's id")
SHAPE: Final = Parameter(
    "query", "shape", str, "Another form of the answer's stream (docs/surfaces.md)"
)
LIMIT: Final = Parameter(
    "query", "limit", Annotated[int, Meta(ge=1, le=MAX_LISTED)], "At most so many"
)
