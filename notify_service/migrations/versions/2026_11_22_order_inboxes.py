"""order inboxes by what came last"""

from alembic import op

revision = "e7b3a90c2d51"
down_revision = "e41b7c09d5f2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_notification_inbox", table_name="notification")
    op.create_index("ix_notification_inbox", "notification", ["user_id", "created_at", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_notification_inbox", table_name="notification")
    op.create_index("ix_notification_inbox", "notification", ["user_id", "id"], unique=False)
