"""What the process tells about itself while it runs."""
