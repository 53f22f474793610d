"""One prompt run through the network: its operators, and the values on the way."""
