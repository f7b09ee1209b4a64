"""Shipments, whose price another service knows."""
