"""Who may do what in a conversation. The one place that decides; `docs/roles.md` shows it as a table.

Plain questions about a role and the type of a conversation, so that everything may ask them. Whether somebody is a
member at all comes first, and is `conversations.visible_to`.
"""

from typing import Any

from libs.errors import Forbidden

OWNER, ADMIN, MODERATOR, MEMBER, GUEST, READ_ONLY = "owner", "admin", "moderator", "member", "guest", "read_only"
ROLES = (OWNER, ADMIN, MODERATOR, MEMBER, GUEST, READ_ONLY)
MANAGERS = (OWNER, ADMIN)
MODERATORS = (OWNER, ADMIN, MODERATOR)
# Of those that auth gives: they act on messages of conversations that they are not in.
STAFF = frozenset({MODERATOR, ADMIN})
_RANK = {role: len(ROLES) - place for place, role in enumerate(ROLES)}


def is_staff(roles: tuple[str, ...]) -> bool:
    return not STAFF.isdisjoint(roles)


def check_administrator(roles: tuple[str, ...]) -> None:
    """Of the whole deployment. Raises Forbidden."""
    if ADMIN not in roles:
        raise Forbidden


def may_post(role: str, kind: str) -> bool:
    """Only some speak in a channel."""
    return role in MODERATORS if kind == "channel" else role != READ_ONLY


def may_react(role: str) -> bool:
    return role != READ_ONLY


def may_manage(role: str) -> bool:
    """Settings, members, the end of the conversation."""
    return role in MANAGERS


def may_moderate(role: str) -> bool:
    """Delete what others wrote, and see what was reported."""
    return role in MODERATORS


def may_pin(role: str, kind: str) -> bool:
    return role in MODERATORS if kind == "channel" else role in (*MODERATORS, MEMBER)


def may_mention_all(role: str, kind: str) -> bool:
    """`all` and `here`."""
    return may_pin(role, kind)


def may_add(role: str, kind: str) -> bool:
    return kind != "direct" and role in MANAGERS


def may_remove(role: str, theirs: str) -> bool:
    return role in MANAGERS and outranks(role, theirs)


def may_change_role(role: str, theirs: str, wanted: str) -> bool:
    """Only of who stands below, and to what stands below."""
    return role in MANAGERS and outranks(role, theirs) and outranks(role, wanted)


def outranks(role: str, other: str) -> bool:
    return _RANK[role] > _RANK[other]


def waits(role: str) -> bool:
    """Whether slow mode holds for the role."""
    return role not in MODERATORS


def may_edit_late(role: str) -> bool:
    """One's own words, however old."""
    return role in MANAGERS


def may_delete_others(role: str, kind: str, *, is_creator: bool) -> bool:
    """Neither of two people deletes the words of the other."""
    return kind != "direct" and (role in MODERATORS or is_creator)


def permissions(role: str, kind: str, *, can_post: bool) -> dict[str, Any]:
    """What a client offers its user. `can_post` also depends on more than the role."""
    return {
        "can_post": can_post,
        "can_react": may_react(role),
        "can_pin": may_pin(role, kind),
        "can_mention_all": may_mention_all(role, kind),
        "can_add_members": may_add(role, kind),
        "can_moderate": kind != "direct" and may_moderate(role),
        "can_manage": may_manage(role),
    }
