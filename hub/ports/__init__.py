"""What the engine asks of the world, one module a capability.

Adapters implement these protocols (backends/, upstreams/, transports/), and hub.testing implements
them in memory; both pass the same contract suites. An adapter translates the errors of its library
into hub.errors; the engine knows no other errors.
"""
