"""A run that takes its coefficients from llama.cpp's own run of the same prompt."""
