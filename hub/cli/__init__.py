"""The commands of `hub`. Heavy parts are imported inside the commands, so that each starts fast.

processes.py  dev, serve, worker, upstream      everyday.py  publish, tail, ask, token
inspect.py    config, doctor                    exits.py     errors as sentences and exit codes
"""

from __future__ import annotations

from hub.cli.app import run

__all__ = ["run"]
