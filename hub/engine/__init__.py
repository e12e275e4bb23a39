"""Orchestration over the ports: what happens to events, connections and generations.

Nothing here knows a library that does I/O; asyncio and the ports are all there is.
"""
