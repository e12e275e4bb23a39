"""The everyday commands: publish, tail, ask, token. They speak HTTP, as any client would."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hub.client import HubClient, To
    from hub.settings import Settings

UrlOption = Annotated[str | None, typer.Option("--url", help="The public listener.")]
InternalUrlOption = Annotated[
    str | None, typer.Option("--internal-url", help="The internal listener.")
]
TokenOption = Annotated[str | None, typer.Option("--token", help="The user's token.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="An API key.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="The settings file.", metavar="FILE")
]
JsonOption = Annotated[bool, typer.Option("--json", help="A JSON object a line.")]


class Refused(Exception):
    """What was asked for did not happen; the message says why (exit code 1)."""


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(publish)
    app.command()(tail)
    app.command()(ask)
    app.command()(token)


def publish(
    user: Annotated[str | None, typer.Argument(help="To whom.")] = None,
    event: Annotated[str, typer.Option(help="The event's name.")] = "notification",
    data: Annotated[str, typer.Option(help="JSON; - reads standard input.")] = "null",
    topic: Annotated[str | None, typer.Option(help="To a topic instead.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="To everyone instead.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option("--id", help="The same one again changes nothing.", metavar="KEY")
    ] = None,
    ephemeral: Annotated[bool, typer.Option(help="Live only, never replayed.")] = False,
    ttl: Annotated[float | None, typer.Option(help="Seconds worth replaying.")] = None,
    internal_url: InternalUrlOption = None,
    key: KeyOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publishes one event.

    Example: hub publish alice --data '{"title": "Your export is ready"}'
    """
    to = _addressee(user, topic, everyone)
    value = _json_value(sys.stdin.read() if data == "-" else data)
    settings = _settings(config, {"client.internal_url": internal_url, "client.key": key})

    async def work(hub: HubClient) -> None:
        from msgspec.structs import asdict

        published = await hub.publish(
            to,
            event,
            value,
            idempotency_key=idempotency_key,
            ephemeral=ephemeral,
            ttl_seconds=ttl,
        )
        for each in published:
            if as_json:
                print(json.dumps(asdict(each)))
            else:
                mark = "  (duplicate)" if each.duplicate else ""
                print(f"{each.channel}  {each.cursor or 'ephemeral'}{mark}")

    _talk(settings, work)


def tail(
    user: Annotated[str, typer.Argument(help="Whose stream.")],
    topics: Annotated[str, typer.Option(help="Topics too: a,b.")] = "",
    cursor: Annotated[str, typer.Option(help="live, start, or a cursor.")] = "live",
    url: UrlOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows a user's stream as it comes.

    Example: hub tail alice --cursor start
    """
    settings = _settings(config, {"client.url": url, "client.token": token})
    named = [topic for topic in topics.split(",") if topic]

    async def work(hub: HubClient) -> None:
        async for event in hub.events(topics=named, cursor=cursor, control=True):
            if as_json:
                line = json.dumps({"id": event.id, "event": event.name, "data": event.data})
            elif sys.stdout.isatty():
                clock = _dim(time.strftime("%H:%M:%S"))
                line = f"{clock}  {typer.style(event.name, bold=True)}  {event.data}"
            else:
                line = f"{event.id}\t{event.name}\t{event.data}"
            print(line, flush=True)

    _talk(settings, work, user)


def ask(
    user: Annotated[str, typer.Argument(help="Who asks.")],
    prompt: Annotated[str, typer.Argument(help="The question.")],
    model: Annotated[str | None, typer.Option(help="Which model.")] = None,
    upstream: Annotated[str | None, typer.Option(help="Which upstream.")] = None,
    url: UrlOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Asks, and prints the growing answer.

    Ctrl-C stops the generation, wherever it runs.

    Example: hub ask alice "why is the sky blue?"
    """
    from hub.cli.answer import show_answer

    settings = _settings(config, {"client.url": url, "client.token": token})

    async def work(hub: HubClient) -> None:
        answer = await hub.ask(prompt, model=model, upstream=upstream)
        failure = await show_answer(answer, as_json=as_json)
        if failure is not None:
            raise Refused(failure)

    _talk(settings, work, user)


def token(
    user: Annotated[str, typer.Argument(help="Whose token: the claim sub.")],
    ttl: Annotated[str, typer.Option(help="How long it is good: 90s, 30m, 1h, 7d.")] = "1h",
    topics: Annotated[str, typer.Option(help="Topics it allows: a,b,news.*")] = "",
    config: ConfigOption = None,
) -> None:
    """Mints a token for development.

    It is signed with auth.hmac_secret (HS256).

    Example: HUB_AUTH__HMAC_SECRET=… hub token alice --ttl 8h --topics news,team.*
    """
    from hub.cli.dev_token import sign_dev_token
    from hub.core.channel import check_user_id
    from hub.errors import CallerError, OperatorError

    auth = _settings(config, {}).auth
    try:
        check_user_id(user)
    except CallerError as error:
        raise Refused(error.detail) from error
    named = [topic for topic in topics.split(",") if topic]
    signed = sign_dev_token(auth, user, _seconds(ttl), named)
    if signed is None:
        raise OperatorError("set auth.hmac_secret (HUB_AUTH__HMAC_SECRET) to sign tokens with")
    print(signed)


def _addressee(user: str | None, topic: str | None, everyone: bool) -> To:
    to: To = {}
    if user is not None:
        to["user"] = user
    if topic is not None:
        to["topic"] = topic
    if everyone:
        to["all"] = True
    if len(to) != 1:
        raise Refused("say to whom: either a USER, or --topic NAME, or --all")
    return to


def _json_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        hint = f"""; a plain text is --data '"{text}"'""" if text.isalnum() else ""
        raise Refused(f"--data is not JSON: {error}{hint}") from error


def _seconds(text: str) -> int:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not number.isdigit() or int(number) == 0:
        raise Refused(f"--ttl is a number and a unit, as 90s, 30m, 1h or 7d, not {text!r}")
    return int(number) * units[unit]


def _settings(config: Path | None, flags: dict[str, Any]) -> Settings:
    """The settings; where none names a hub, the `hub dev` that runs on this machine is meant."""
    from hub.cli.dev_state import read_dev_state
    from hub.settings import load_settings

    given = {key: value for key, value in flags.items() if value is not None}
    loaded = load_settings(config, given)
    notice = read_dev_state()
    if notice is not None:
        found = {"client.url": notice.url, "client.internal_url": notice.internal_url}
        missing = {key: url for key, url in found.items() if key not in loaded.origins}
        loaded = load_settings(config, {**missing, **given})
    return loaded.settings


def _talk(
    settings: Settings,
    work: Callable[[HubClient], Coroutine[Any, Any, None]],
    user: str | None = None,
) -> None:
    from hub.client import HubClient, HubClientError, RetryPolicy
    from hub.errors import OperatorError

    client = settings.client
    try:
        hub = HubClient(
            client.url,
            client.token.get_secret_value() if client.token else None,
            internal_url=client.internal_url,
            key=client.key.get_secret_value() if client.key else None,
            user=user,
            retry=RetryPolicy(
                max_attempts=1
            ),  # who sits in front of it sees the reason, and tries again
        )
    except ValueError as error:
        raise OperatorError(f"client.{error}") from error

    async def main() -> None:
        async with hub:
            await work(hub)

    try:
        asyncio.run(main())
    except HubClientError as error:
        raise Refused(str(error)) from error


def _dim(text: str) -> str:
    return typer.style(text, dim=True)
