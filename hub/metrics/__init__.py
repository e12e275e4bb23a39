"""Prometheus' text format for the metrics of nodes and workers (declared in core/metrics.py)."""

from hub.metrics.prometheus import CONTENT_TYPE, render_prometheus

__all__ = ["CONTENT_TYPE", "render_prometheus"]
