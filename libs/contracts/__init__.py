"""Shapes that cross a service boundary. A change here is an API change: fields are added, never renamed or removed."""

SERVICES = ("auth", "chat", "notify", "gateway")
