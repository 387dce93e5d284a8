"""What the world sees of chat."""
