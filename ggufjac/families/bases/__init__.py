"""What families share: their common ground, and what they read from a file."""
