"""What nodes and workers count, in Prometheus' terms. Labels are few, and never users'."""

from hub.metrics.families import CONTENT_TYPE, MetricFamily, render_prometheus
from hub.metrics.node import node_families
from hub.metrics.worker import WorkerMetrics

__all__ = ["CONTENT_TYPE", "MetricFamily", "WorkerMetrics", "node_families", "render_prometheus"]
