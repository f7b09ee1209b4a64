"""Reminders, which a job deletes when they are old."""
