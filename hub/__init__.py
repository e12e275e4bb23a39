"""Pushes notifications and LLM answers, token by token, to the screens of logged-in users."""

__version__ = "0.1.0"
