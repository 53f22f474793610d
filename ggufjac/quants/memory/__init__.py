"""How memory, devices and threads are used while packed weights are multiplied."""
