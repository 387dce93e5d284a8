"""The HTTP surface of notify."""
