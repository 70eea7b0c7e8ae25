"""`ConnectionManager`, what runs while it is open, and its health report."""
