"""The command line put together, and how it ends when something is wrong.

Exit codes: 0 done, 1 the hub refused or an answer failed, 2 bad configuration or usage, 3 the
broker cannot be reached, 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hub import __version__
from hub.cli import client_commands, healthcheck, inspect, processes
from hub.errors import BrokerUnavailable, HubError

app = typer.Typer(
    help="Pushes notifications and LLM answers, token by token, to people's screens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hub {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")
    ] = False,
) -> None:
    """Options of `hub` itself."""


processes.add_commands(app)
client_commands.add_commands(app)
inspect.add_commands(app)
healthcheck.add_commands(app)


def run() -> None:
    """Runs the command; an error is one sentence on standard error and an exit code."""
    try:
        app(prog_name="hub")
    except HubError as error:
        _end(str(error), 3 if isinstance(error, BrokerUnavailable) else 2)
    except client_commands.Refused as error:
        _end(str(error), 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has left; there is nobody to tell
        sys.exit(0)


def _end(sentence: str, code: int) -> None:
    print(f"hub: {sentence}", file=sys.stderr)
    sys.exit(code)
