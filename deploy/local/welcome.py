"""What `./parley up` prints when everything is ready."""

DEMO_USERS = ("ada@example.com", "grace@example.com", "alan@example.com")
DEMO_PASSWORD = "parley-demo-2026"  # noqa: S105 - the demo users exist in development only


def welcome(url: str, mailbox: str, *, seconds: float) -> str:
    socket = url.replace("http", "ws", 1) + "/ws"
    return f"""
Parley is up after {seconds:.1f} s. Ctrl-C stops everything; the data stays until ./parley clean

  Gateway       {url}
  API           {url}/api/v1/docs
  Mailbox       {mailbox}
  Texts         {mailbox}/texts
  Identities    {mailbox}/identity
  Demo logins   {"  ".join(DEMO_USERS)}
                password {DEMO_PASSWORD}

Three things to try from this folder in another terminal: sign in, list conversations, listen to the socket.

  TOKEN=$(curl -s {url}/api/v1/auth/token -H 'Content-Type: application/json' \\
    -d '{{"email": "{DEMO_USERS[0]}", "password": "{DEMO_PASSWORD}"}}' | sed 's/.*"access": *"\\([^"]*\\)".*/\\1/')
  curl -s {url}/api/v1/conversations -H "Authorization: Bearer $TOKEN"
  .venv/bin/python -m deploy.local.listen {socket} "$TOKEN"
"""
