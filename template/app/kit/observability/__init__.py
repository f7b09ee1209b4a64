"""What the process reports about itself while it runs."""
