"""The entry point of `hub` and `python -m hub`."""

from __future__ import annotations

import gc

from hub.cli import run


def main() -> None:
    """Run the command line."""
    # Imports create many objects and no garbage. With the default threshold of 700 objects, garbage
    # collection takes a tenth of the start.
    gc.set_threshold(50_000, 20, 20)
    run()


if __name__ == "__main__":
    main()
