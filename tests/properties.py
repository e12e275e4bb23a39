"""The number of examples of property tests whose examples cost more than most."""

from __future__ import annotations

import hypothesis


def limit_examples(examples: int) -> int:
    """Return the number of examples for `settings(max_examples=…)`.

    examples: the number of a whole run. With --quick it is that of the profile (tests/conftest.py)
    if that is smaller: a number in a decorator would otherwise hold for both runs.
    """
    return min(examples, hypothesis.settings().max_examples)
