"""What the analyses share."""
