"""What a user's token allows: `hub:stream` and `hub:ask` in its claim `scope` (RFC 8693, 4.2).

`hub:ask` covers starting, stopping and restarting answers, and the APIs below /v1. `hub:stream`
covers everything else. A token that names neither allows both, unless the settings require a scope;
the scopes of identity providers, such as `openid profile`, mean nothing here.
"""

from __future__ import annotations

from typing import Final

from hub.error_codes import SCOPE_REQUIRED, TOKEN_CLAIMS_INVALID
from hub.errors import Forbidden, Unauthorized

STREAM: Final = "hub:stream"
ASK: Final = "hub:ask"
ALL_SCOPES: Final = frozenset({STREAM, ASK})


def parse_scopes(claim: object, *, require_scope: bool) -> frozenset[str]:
    """Return the scopes of the hub in a claim: words in a text, or a list of them.

    Raise Unauthorized for anything else.
    """
    words = claim.split(" ") if isinstance(claim, str) else claim
    if words is None:
        words = []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Unauthorized(
            "the claim scope must be a text of scopes with blanks between them",
            code=TOKEN_CLAIMS_INVALID,
        )
    named = ALL_SCOPES.intersection(words)
    return named if named or require_scope else ALL_SCOPES


def check_scope(scopes: frozenset[str], scope: str) -> None:
    """Raise Forbidden if the scopes do not have this one."""
    if scope not in scopes:
        raise Forbidden(f"the token needs the scope {scope}", code=SCOPE_REQUIRED)
