"""llama.cpp as the judge, and its own run explained."""
