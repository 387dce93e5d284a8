"""What it means, with its SQL."""
