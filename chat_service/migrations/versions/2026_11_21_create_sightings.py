"""create sightings and erasures"""

import sqlalchemy as sa
from alembic import op

revision = "6c0e1f52d9b4"
down_revision = "1d8260b761ad"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("profile", sa.Column("erased", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_table(
        "sighting",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_online", sa.Boolean(), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_sighting")),
    )
    op.create_index("ix_sighting_due", "sighting", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL"))
    op.create_index("ix_sighting_online", "sighting", ["user_id"], postgresql_where=sa.text("online"))
    op.create_table(
        "erasure",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("done_to", sa.Uuid(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_erasure")),
    )


def downgrade() -> None:
    op.drop_table("erasure")
    op.drop_table("sighting")
    op.drop_column("profile", "erased")
