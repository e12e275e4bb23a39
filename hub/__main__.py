"""The entry point of `hub` and `python -m hub`."""

from __future__ import annotations

from hub.cli import run


def main() -> None:
    """Run the command line."""
    run()


if __name__ == "__main__":
    main()
