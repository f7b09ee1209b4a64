"""Tags, some of which nobody may delete."""
