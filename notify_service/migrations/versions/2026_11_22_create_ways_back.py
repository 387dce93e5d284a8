"""create ways back: of users from what their links have ended, and of batches from what a provider has stopped"""

import sqlalchemy as sa
from alembic import op

revision = "e41b7c09d5f2"
down_revision = "e27b90d4a6c1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("suppression", sa.Column("user_id", sa.Uuid(), nullable=True))
    op.create_index("ix_suppression_user", "suppression", ["user_id"], postgresql_where=sa.text("user_id IS NOT NULL"))
    op.create_index(
        "ix_batch_hold_reason", "batch", ["hold_reason"], postgresql_where=sa.text("hold_reason IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_batch_hold_reason", table_name="batch")
    op.drop_index("ix_suppression_user", table_name="suppression")
    op.drop_column("suppression", "user_id")
