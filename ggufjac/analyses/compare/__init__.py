"""Prompts and models beside each other."""
