"""Products with packed weights on a device other than the CPU."""
