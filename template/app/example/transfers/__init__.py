"""Transfers of money between users."""
