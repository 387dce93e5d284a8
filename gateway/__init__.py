"""The one door: who calls, from where, how often and with which token; then bytes, both ways, as they come.

Owns no data. Decides with pure functions over a parsed head (`domain.policy`), forwards below ASGI (`routes.front`),
and serves a few pages of its own with FastAPI: the merged API description and the health of the whole.
"""
