"""The protocols through which the engine uses everything outside it, one module a capability.

Adapters implement them: backends/ (bundled as ports.backend.Backend), upstreams/ and transports/.
hub.testing implements the backend in memory; it passes the same contract suites as Redis. An
adapter translates the errors of its library into hub.errors; the engine knows no other errors.
"""
