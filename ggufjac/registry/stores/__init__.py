"""What other programs have downloaded: a file for each way of keeping models."""
