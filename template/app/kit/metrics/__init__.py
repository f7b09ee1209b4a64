"""Metrics for Prometheus."""

from app.kit.metrics.prometheus import install

__all__ = ["install"]
