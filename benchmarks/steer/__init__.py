"""Ways of steering, compared."""
