"""Measure the hub, comparable servers and a lower bound in one run: `scripts/bench [name]`."""
