"""LLM endpoints, one wire format a file.

A response passes these steps: chunks of bytes (http_client.py), events (a decoder of core/), stream
parts (the reader of the dialect, called by http_upstream.py). The relay coalesces and publishes
the parts. A new wire format is one file with a `Dialect` and one line in wiring/upstreams.py.
"""
