"""Texts that are pushed by a concept."""
