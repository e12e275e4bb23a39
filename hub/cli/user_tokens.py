"""`hub token`, and the signing of users' tokens with auth.hmac_secret (HS256).

In production an identity provider or the application signs the tokens. These are for development
and for `hub doctor`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.options import CommandFailed, ConfigOption, load, split_list

if TYPE_CHECKING:
    from hub.settings.models import Auth

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_commands(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(token)


def token(
    user: Annotated[str, typer.Argument(help="The user id: the claim sub of the token.")],
    ttl: Annotated[str, typer.Option(help="How long the token is valid: 90s, 30m, 1h, 7d.")] = "1h",
    topics: Annotated[str, typer.Option(help="The topics that the token allows: a,b,news.*")] = "",
    ask_topics: Annotated[
        str, typer.Option(help="The topics in which the token allows to ask: a,room:*")
    ] = "",
    config: ConfigOption = None,
) -> None:
    """Print a signed user token, for development.

    The token is signed with auth.hmac_secret (HS256).

    Example: HUB_AUTH__HMAC_SECRET=… hub token alice --ttl 8h --topics news,team.*
    """
    from hub.core.channel import check_user_id
    from hub.errors import CallerError, OperatorError

    auth = load(config).settings.auth
    try:
        check_user_id(user)
    except CallerError as error:
        raise CommandFailed(error.detail) from error
    signed = sign_user_token(
        auth, user, _parse_ttl(ttl), split_list(topics), ask_topics=split_list(ask_topics)
    )
    if signed is None:
        raise OperatorError("set auth.hmac_secret (HUB_AUTH__HMAC_SECRET), which signs the token")
    print(signed)


def sign_user_token(
    auth: Auth,
    user: str,
    ttl_seconds: int,
    topics: Sequence[str] = (),
    *,
    ask_topics: Sequence[str] = (),
) -> str | None:
    """Return a JWT that these settings accept, or None when they have no auth.hmac_secret."""
    import jwt

    if auth.hmac_secret is None:
        return None
    now = int(time.time())
    claims: dict[str, Any] = {auth.user_claim: user, "iat": now, "exp": now + ttl_seconds}
    optional = {
        "topics": list(topics) or None,
        "ask_topics": list(ask_topics) or None,
        "aud": auth.audience,
        "iss": auth.issuer,
    }
    claims |= {name: value for name, value in optional.items() if value is not None}
    return jwt.encode(claims, auth.hmac_secret.get_secret_value(), algorithm="HS256")


def _parse_ttl(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if unit not in _UNIT_SECONDS or not number.isdigit() or int(number) == 0:
        raise CommandFailed(
            f"--ttl must be a number and a unit, such as 90s, 30m, 1h or 7d, not {text!r}"
        )
    return int(number) * _UNIT_SECONDS[unit]
