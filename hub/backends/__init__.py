"""Backends: they store events, generations and jobs, and distribute them to all processes."""
