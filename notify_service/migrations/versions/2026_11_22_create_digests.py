"""create digests"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "d16e57c0a839"
down_revision = "a4d9e07c51f3"
branch_labels = None
depends_on = None


_FORMER_STATES = (
    "state IN ('queued', 'claimed', 'sending', 'retry', 'sent', 'delivered', 'read', "
    "'suppressed', 'duplicate', 'cancelled', 'expired', 'failed', 'dead', 'unknown')"
)
_STATES = _FORMER_STATES.removesuffix(")") + ", 'collected', 'digested')"


def upgrade() -> None:
    op.create_table(
        "category",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("throttle", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("digest", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_category")),
    )
    op.create_table(
        "digest",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("bucket", sa.LargeBinary(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_digest")),
    )
    op.create_index("uq_digest_bucket", "digest", ["bucket"], unique=True)
    op.create_index("ix_digest_closes_at", "digest", ["closes_at"], unique=False)
    op.create_index("ix_digest_account", "digest", ["account"], unique=False)
    op.create_index(
        "ix_digest_user", "digest", ["user_id"], unique=False, postgresql_where=sa.text("user_id IS NOT NULL")
    )
    op.create_table(
        "throttle",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("times", postgresql.ARRAY(sa.DateTime(timezone=True)), nullable=False),
        sa.Column("left_out", sa.Integer(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_throttle")),
    )
    op.create_index("ix_throttle_until", "throttle", ["until"], unique=False)
    op.add_column("delivery", sa.Column("digest_id", sa.Uuid(), nullable=True))
    op.create_index(
        "ix_delivery_collected",
        "delivery",
        ["digest_id", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'collected'"),
    )
    op.drop_constraint("state", "delivery", type_="check")
    op.create_check_constraint("state", "delivery", _STATES)


def downgrade() -> None:
    """Sends what is collected by itself. What a digest has said stays sent."""
    op.execute("UPDATE delivery SET state = 'queued', next_at = now() WHERE state = 'collected'")
    op.execute("UPDATE delivery SET state = 'sent' WHERE state = 'digested'")
    op.drop_constraint("state", "delivery", type_="check")
    op.create_check_constraint("state", "delivery", _FORMER_STATES)
    op.drop_index("ix_delivery_collected", table_name="delivery")
    op.drop_column("delivery", "digest_id")
    for table in ("throttle", "digest", "category"):
        op.drop_table(table)
