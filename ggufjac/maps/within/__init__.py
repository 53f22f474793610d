"""Maps to places within the network: layers, the writes of their blocks, paths."""
