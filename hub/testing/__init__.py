"""What tests need: the backend in memory, fakes, and the contract suites for other backends.

Nothing here runs in production. docs/contributing/testing.md shows how to use it, and
docs/guides/functions.md how to test a function of an application.

producers   run_producer and crash_at_every_part, for functions that produce answers
backend     MemoryBackend, the bundle of events, generations, queue and stores
fakes       a clock, a gate and an upstream with a script
contracts/  the suites that every backend must pass; they need pytest
"""

from hub.testing.producers import ProducerResult, crash_at_every_part, run_producer

__all__ = ["ProducerResult", "crash_at_every_part", "run_producer"]
