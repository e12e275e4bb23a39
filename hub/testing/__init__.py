"""What tests need: the backend in memory, fakes, and the contract suites for other backends.

Nothing here runs in production. docs/contributing/testing.md shows how to use it, and
docs/guides/functions.md and docs/guides/guards.md how to test functions and guards of an
application.

guards      run_guard, for guards of answers
producers   run_producer and crash_at_every_part, for functions that produce answers
backend     MemoryBackend, the bundle of events, generations, queue and stores
fakes       a clock, a gate and an upstream with a script
contracts/  the suites that every backend must pass; they need pytest
"""

from hub.testing.guards import GuardResult, run_guard
from hub.testing.producers import ProducerResult, crash_at_every_part, run_producer

__all__ = [
    "GuardResult",
    "ProducerResult",
    "crash_at_every_part",
    "run_guard",
    "run_producer",
]
