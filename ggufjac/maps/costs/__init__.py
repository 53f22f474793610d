"""What an analysis will cost, before it runs."""
