"""What tests need: the backend in memory, fakes, and the contract suites for other backends.

Nothing here runs in production. docs/contributing/testing.md shows how to use it.

backend     MemoryBackend, the bundle of events, generations, queue and stores
fakes       a clock, a gate and an upstream with a script
contracts/  the suites that every backend must pass; they need pytest
"""
