"""Results in a terminal: a module for every kind of result."""
