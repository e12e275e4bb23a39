"""What nodes and workers count, in Prometheus' terms. Labels are few, and never users'."""

from hub.metrics.families import CONTENT_TYPE, Family, exposition
from hub.metrics.node import node_families
from hub.metrics.worker import WorkerMetrics

__all__ = ["CONTENT_TYPE", "Family", "WorkerMetrics", "exposition", "node_families"]
