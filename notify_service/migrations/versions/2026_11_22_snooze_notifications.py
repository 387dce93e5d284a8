"""snooze notifications"""

import sqlalchemy as sa
from alembic import op

revision = "f20c6e8b4a17"
down_revision = "b60f2d93ae17"
branch_labels = None
depends_on = None

_UNREAD = "read_at IS NULL AND archived_at IS NULL"


def upgrade() -> None:
    for name in ("seen_at", "snoozed_until"):
        op.add_column("notification", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.drop_index("ix_notification_unread", table_name="notification")
    where = sa.text(f"{_UNREAD} AND snoozed_until IS NULL")
    op.create_index("ix_notification_unread", "notification", ["user_id"], postgresql_where=where)
    where = sa.text("snoozed_until IS NOT NULL")
    op.create_index("ix_notification_snoozed", "notification", ["snoozed_until"], postgresql_where=where)


def downgrade() -> None:
    op.drop_index("ix_notification_snoozed", table_name="notification")
    op.drop_index("ix_notification_unread", table_name="notification")
    op.create_index("ix_notification_unread", "notification", ["user_id"], postgresql_where=sa.text(_UNREAD))
    for name in ("seen_at", "snoozed_until"):
        op.drop_column("notification", name)
