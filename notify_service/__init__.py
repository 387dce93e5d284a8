"""Telling people: in-app notifications, and deliveries over channels outside, e-mail first.

Hears auth (`UserRegistered`, `UserUpdated`, `MessageRequested`) and chat (`MessageSent`); says `NotificationCreated`.
A row of `delivery` is a message to one address, and the queue at once: its worker claims rows, sends them, and writes
down what became of each.
"""
