"""create dead letters"""

import sqlalchemy as sa
from alembic import op

revision = "9a27c4e1d0f6"
down_revision = "5c1f0d7ae2b4"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batch", sa.Column("hold_reason", sa.Text(), nullable=True))
    op.create_index(
        "ix_delivery_dead",
        "delivery",
        ["updated_at", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('dead', 'failed', 'unknown')"),
    )


def downgrade() -> None:
    op.drop_index("ix_delivery_dead", table_name="delivery")
    op.drop_column("batch", "hold_reason")
