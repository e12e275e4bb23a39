"""The command line of `hub`. Heavy modules are imported inside the commands: each starts fast.

app.py                all commands together, errors and exit codes
process_commands.py   dev, serve, worker, upstream
client_commands.py    publish, tail, ask
inspect_commands.py   config, doctor, openapi
user_tokens.py        token
healthcheck.py        healthcheck
"""

from __future__ import annotations

from hub.cli.app import run

__all__ = ["run"]
