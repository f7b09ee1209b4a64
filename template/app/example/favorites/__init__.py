"""Favorites: which users like which items."""
