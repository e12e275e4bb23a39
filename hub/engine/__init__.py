"""Orchestration over the ports: connections, broadcast, generations, the worker.

The modules use asyncio and the ports, and no library that does I/O.
"""
