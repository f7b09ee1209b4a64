"""Documents in folders: many kinds of columns."""
