"""Backends: where events, generations and jobs are stored."""
