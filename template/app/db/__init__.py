"""The database layer. It knows the settings, and nothing of HTTP or of the features above it."""
