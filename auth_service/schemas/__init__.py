"""The requests and answers of auth: its public contract, a file a noun."""
