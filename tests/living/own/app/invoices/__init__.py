"""Invoices, and when they are due."""
