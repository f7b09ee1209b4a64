"""Accounts: who sends a request, by a bearer token, and what they may do."""
