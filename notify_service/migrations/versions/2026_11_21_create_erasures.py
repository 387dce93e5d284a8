"""create erasures"""

import sqlalchemy as sa
from alembic import op

revision = "b27d41c90e35"
down_revision = "fba6bb4ba285"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasure",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_erasure")),
    )
    op.create_index(
        "ix_notification_actor",
        "notification",
        [sa.text("(actor ->> 'id')")],
        postgresql_where=sa.text("actor IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_notification_actor", table_name="notification")
    op.drop_table("erasure")
