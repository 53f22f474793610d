"""Maps from the streams between blocks to the last one: what lenses average, and what they read with."""
