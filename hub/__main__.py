"""`hub` and `python -m hub`."""

from __future__ import annotations


def main() -> None:
    """Runs the command line."""
    from hub.cli import run

    run()


if __name__ == "__main__":
    main()
