"""What is shown of things that are no results of an analysis."""
