"""A whole answer: every token of it explained by every token before it."""
