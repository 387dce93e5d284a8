"""Conversations and messages: who talks to whom, what was said, and getting it to every socket at once.

Sends `MessageSent` for members who are away. Hears auth's `UserRegistered` and `UserUpdated`, and keeps a copy of the
names it shows, so that no message waits for another service.
"""
