"""Read replicas: selection, health, and read-your-writes."""
