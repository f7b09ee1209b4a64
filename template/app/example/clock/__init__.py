"""An example feature: the time of the database. Replace it by your first feature."""
