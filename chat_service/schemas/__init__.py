"""The requests and answers of chat: its public contract, a file a noun."""
