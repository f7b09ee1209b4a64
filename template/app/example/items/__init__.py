"""Items, each of which may belong to a user."""
