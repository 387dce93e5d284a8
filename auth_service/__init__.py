"""Who people are: accounts, sign-in, sessions, tokens and the keys that sign them.

Owns users, their names and addresses, passwords and sessions. Tells the other services about users (`UserRegistered`,
`UserUpdated`), asks notify to send links (`MessageRequested`), and publishes which sessions have ended. Hears nobody.
"""
