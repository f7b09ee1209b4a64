"""Users and their balances."""
