"""The requests and answers of notify: its public contract, a file a noun."""
