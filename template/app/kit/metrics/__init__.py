"""Metrics for Prometheus."""

from app.kit.metrics.prometheus import install, update_gauges

__all__ = ["install", "update_gauges"]
