"""create devices"""

import sqlalchemy as sa
from alembic import op

revision = "e27b90d4a6c1"
down_revision = "c2b7f4e90d18"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "device",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["account.name"], name=op.f("fk_device_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device")),
    )
    op.create_index("uq_device_address", "device", ["channel", "address"], unique=True)
    op.create_index("ix_device_user", "device", ["user_id", "channel", "seen_at"])
    op.create_index("ix_device_account", "device", ["account"])


def downgrade() -> None:
    op.drop_table("device")
