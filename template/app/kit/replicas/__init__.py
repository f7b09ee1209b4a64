"""Read replicas: which one to read from, and how clients see their own writes."""
