"""LLM endpoints, one wire format in each module or package.

A response passes these steps: chunks of bytes (http/client.py), events (a decoder of core/), stream
parts (the reader of the dialect, called by http/upstream.py). The relay coalesces and publishes
the parts. A new wire format is one module with a `Dialect` and one line in wiring/upstreams.py.
"""
