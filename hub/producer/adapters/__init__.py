"""Agents of other frameworks as functions: their events as parts of the answer.

Each module is for one framework and imports it. The framework is the application's own dependency:
the hub does not install it.
"""
