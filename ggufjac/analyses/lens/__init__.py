"""Lenses: fitted over texts, and what every layer is about to say in them."""
