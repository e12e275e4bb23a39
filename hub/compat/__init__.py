"""Compatibility with the clients of other APIs: one package for each dialect.

A dialect has an encoder, the request body it reads, and its routes. A new dialect is a package here
and one line in hub/wiring/route_table.py.
"""
