"""The commands publish, tail and ask. They use the HTTP API, as any client does."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hub.cli.options import CommandFailed, ConfigOption, JsonOption, given_flags, load, split_list

if TYPE_CHECKING:
    from hub.settings import Settings
    from hub_client import HubClient, StreamEvent, To

UrlOption = Annotated[str | None, typer.Option("--url", help="The URL of the public listener.")]
InternalUrlOption = Annotated[
    str | None, typer.Option("--internal-url", help="The URL of the internal listener.")
]
TokenOption = Annotated[str | None, typer.Option("--token", help="The token of the user.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="An API key with the scope publish.")]

_HINTS: Final = {
    "token_required": 'pass --token, for example --token "$(hub token USER)"',
    "api_key_required": "pass --key, or set HUB_CLIENT__KEY",
}
"""What helps the user of a command, by the code of the error."""


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(publish)
    app.command()(tail)
    app.command()(ask)


def publish(
    user: Annotated[str | None, typer.Argument(help="The user who receives the event.")] = None,
    event: Annotated[str, typer.Option(help="The name of the event.")] = "notification",
    data: Annotated[
        str, typer.Option(help="The data as JSON; - reads it from standard input.")
    ] = "null",
    topic: Annotated[
        str | None, typer.Option(help="Publish to this topic instead of a user.")
    ] = None,
    to_all: Annotated[
        bool, typer.Option("--all", help="Publish to all users instead of one.")
    ] = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="The idempotency key. Publishing again with the same key has no effect.",
            metavar="KEY",
        ),
    ] = None,
    ephemeral: Annotated[
        bool, typer.Option(help="Deliver to live connections only; do not store the event.")
    ] = False,
    ttl: Annotated[
        float | None, typer.Option(help="How many seconds the event may be replayed.")
    ] = None,
    inbox: Annotated[
        str | None,
        typer.Option(
            help="Keep the event in the inbox of each recipient: true, or JSON such as "
            '{"category": "exports", "key": "export-7"}.',
            metavar="JSON",
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            help="Notify the devices of users who do not take the event: a title, or JSON such as "
            '{"title": "Ready", "url": "/exports/7"}.',
            metavar="TITLE|JSON",
        ),
    ] = None,
    internal_url: InternalUrlOption = None,
    key: KeyOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish one event.

    Example: hub publish alice --data '{"title": "Your export is ready"}'
    """
    to = _recipient(user, topic, to_all)
    value = _parse_json(sys.stdin.read() if data == "-" else data)
    kept, notification = _parse_inbox(inbox), _parse_push(push)
    settings = load_client_settings(
        config, {"client.internal_url": internal_url, "client.key": key}
    )

    async def run(hub: HubClient) -> None:
        from msgspec.structs import asdict

        results = await hub.publish(
            to,
            event,
            value,
            idempotency_key=idempotency_key,
            ephemeral=ephemeral,
            ttl_seconds=ttl,
            inbox=kept,
            push=notification,
        )
        for result in results:
            if as_json:
                print(json.dumps(asdict(result)))
            else:
                suffix = "  (duplicate)" if result.duplicate else ""
                print(f"{result.channel}  {result.cursor or 'ephemeral'}{suffix}")

    run_with_client(settings, run)


def tail(
    user: Annotated[str, typer.Argument(help="The user whose stream to print.")],
    topics: Annotated[str, typer.Option(help="Topics to follow as well: a,b.")] = "",
    cursor: Annotated[
        str,
        typer.Option(
            help="Where to begin: live (now), start (the oldest stored event), or a cursor."
        ),
    ] = "live",
    url: UrlOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the event stream of a user.

    While the hub cannot be reached, the command says so on standard error and tries again.

    Example: hub tail alice --cursor start
    """
    from hub.cli.interruptions import report_interruptions

    settings = load_client_settings(config, {"client.url": url, "client.token": token})

    async def run(hub: HubClient) -> None:
        report_interruptions()
        events = hub.events(topics=split_list(topics), cursor=cursor, control=True)
        async for event in events:
            print(_format_event(event, as_json=as_json), flush=True)

    run_with_client(settings, run, user)


def ask(
    user: Annotated[str, typer.Argument(help="The user who asks.")],
    prompt: Annotated[str, typer.Argument(help="The prompt.")],
    model: Annotated[str | None, typer.Option(help="The model.")] = None,
    upstream: Annotated[
        str | None, typer.Option(help="The upstream, by its name in the settings.")
    ] = None,
    chat: Annotated[str | None, typer.Option(help="The id of the conversation.")] = None,
    on_busy: Annotated[
        str | None,
        typer.Option(
            help="What happens while an answer of the chat has not ended: allow, reject, enqueue, "
            "interrupt or steer."
        ),
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="The topic whose followers get the answer.")
    ] = None,
    notify: Annotated[
        bool, typer.Option("--notify", help="Notify the devices of the user of the end.")
    ] = False,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="KEY=VALUE",
            help="The value for an input that the answer asks for; may be repeated. Without it, a "
            "person at the terminal is asked.",
        ),
    ] = None,
    url: UrlOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a generation and print the answer while it grows.

    If the answer asks for an input, such as an approval, the command asks at the terminal. Without
    a terminal, and with --json, it prints the request and waits until somebody answers elsewhere.

    Ctrl-C stops the generation on the hub.

    Example: hub ask alice "why is the sky blue?"
    """
    from hub.cli.answer_printer import print_answer

    given = _parse_inputs(inputs or [])
    settings = load_client_settings(config, {"client.url": url, "client.token": token})

    async def run(hub: HubClient) -> None:
        answer = await hub.ask(
            prompt,
            model=model,
            upstream=upstream,
            chat=chat,
            on_busy=on_busy,
            topic=topic,
            notify=notify or None,
        )
        failure = await print_answer(answer, as_json=as_json, inputs=given)
        if failure is not None:
            raise CommandFailed(failure)

    run_with_client(settings, run, user)


def _recipient(user: str | None, topic: str | None, to_all: bool) -> To:
    to: To = {}
    if user is not None:
        to["user"] = user
    if topic is not None:
        to["topic"] = topic
    if to_all:
        to["all"] = True
    if len(to) != 1:
        raise CommandFailed("give exactly one recipient: a USER, --topic NAME or --all")
    return to


def _parse_inputs(entries: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for entry in entries:
        key, separator, value = entry.partition("=")
        if not key or not separator:
            raise CommandFailed(
                f"--input {entry}: write KEY=VALUE, for example --input refund=approve"
            )
        if key in given:
            raise CommandFailed(f"--input gives two values for {key}")
        given[key] = value
    return given


def _parse_inbox(text: str | None) -> bool | dict[str, Any]:
    try:
        value = False if text is None else json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, bool | dict):
        raise CommandFailed(
            f"""--inbox {text}: write true, or JSON such as '{{"category": "exports"}}'"""
        )
    return value


def _parse_push(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    if not text.lstrip().startswith("{"):
        return {"title": text}
    try:
        value: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise CommandFailed(f"--push is neither a title nor a JSON object: {error}") from error
    return value


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        hint = f"""; for plain text, use --data '"{text}"'""" if text.isalnum() else ""
        raise CommandFailed(f"--data is not JSON: {error}{hint}") from error


def _format_event(event: StreamEvent, *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"id": event.id, "event": event.name, "data": event.data})
    if sys.stdout.isatty():
        time_of_day = typer.style(time.strftime("%H:%M:%S"), dim=True)
        return f"{time_of_day}  {typer.style(event.name, bold=True)}  {event.data}"
    return f"{event.id}\t{event.name}\t{event.data}"


def load_client_settings(config: Path | None, flags: dict[str, Any]) -> Settings:
    """Load the settings, with the URLs of hub/cli/client_urls.py where they set none.

    flags: settings by name; None is absent.
    """
    from hub.cli.client_urls import find_urls

    given = given_flags(flags)
    loaded = load(config, given)
    return load(config, {**find_urls(loaded), **given}).settings


def run_with_client(
    settings: Settings,
    command: Callable[[HubClient], Coroutine[Any, Any, None]],
    user: str | None = None,
) -> None:
    from hub.errors import OperatorError
    from hub_client import HubClient, HubClientError, RetryPolicy

    client = settings.client
    try:
        hub = HubClient(
            client.url,
            client.token.get_secret_value() if client.token else None,
            internal_url=client.internal_url,
            key=client.key.get_secret_value() if client.key else None,
            user=user,
            # No retries: a person at the terminal reads the error and decides.
            retry=RetryPolicy(max_attempts=1),
        )
    except ValueError as error:
        raise OperatorError(f"client.{error}") from error

    async def main() -> None:
        async with hub:
            await command(hub)

    try:
        asyncio.run(main())
    except HubClientError as error:
        hint = _HINTS.get(error.code or "")
        raise CommandFailed(f"{error} ({hint})" if hint else str(error)) from error
