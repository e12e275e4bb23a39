"""The commands together, and how an error ends a command.

Exit codes: 0 success, 1 the hub refused the request or an answer failed, 2 wrong configuration or
usage, 3 the broker is unreachable, 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hub import __version__
from hub.cli import (
    client_commands,
    healthcheck,
    inbox_commands,
    inspect_commands,
    key_commands,
    outbox_commands,
    process_commands,
    user_data_commands,
    user_tokens,
    webhook_commands,
)
from hub.cli.options import CommandFailed
from hub.errors import BrokerUnavailable, HubError

app = typer.Typer(
    help="Push notifications and LLM answers, token by token, to the screens of users.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"hub {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options of `hub` itself."""


process_commands.add_commands(app)
client_commands.add_commands(app)
inbox_commands.add_commands(app)
user_data_commands.add_commands(app)
user_tokens.add_commands(app)
inspect_commands.add_commands(app)
key_commands.add_commands(app)
outbox_commands.add_commands(app)
webhook_commands.add_commands(app)
healthcheck.add_commands(app)


def run() -> None:
    """Run the command. An error prints one sentence to standard error and sets the exit code."""
    try:
        app(prog_name="hub")
    except HubError as error:
        _exit(str(error), 3 if isinstance(error, BrokerUnavailable) else 2)
    except CommandFailed as error:
        _exit(str(error), 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the program that reads our output has ended: not an error
        sys.exit(0)


def _exit(message: str, code: int) -> None:
    print(f"hub: {message}", file=sys.stderr)
    sys.exit(code)
