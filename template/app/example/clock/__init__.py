"""The time of the database: a route to begin with. Replace it by your first feature."""
