"""The rules of auth and their SQL, a file a noun."""
