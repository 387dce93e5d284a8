"""What the world can ask of auth, a file a noun."""
