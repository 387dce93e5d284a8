"""create usage"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "5b9e03c1d7a2"
down_revision = "17c9a3be6058"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_usage",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("hour", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("micros", sa.BigInteger(), nullable=False),
        sa.Column("latency", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_usage_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "hour", "route", name=op.f("pk_api_usage")),
    )
    op.create_index("ix_api_usage_hour", "api_usage", ["hour"], unique=False)
    op.create_table(
        "counted_batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("counted_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_counted_batches")),
    )
    op.create_index("ix_counted_batches_counted_at", "counted_batches", ["counted_at"], unique=False)


def downgrade() -> None:
    op.drop_table("counted_batches")
    op.drop_table("api_usage")
