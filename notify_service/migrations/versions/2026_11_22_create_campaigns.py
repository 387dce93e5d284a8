"""create campaigns"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c2b7f4e90d18"
down_revision = "b7d20c5e91f3"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "campaign",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("audience_id", sa.Uuid(), nullable=True),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("missing", sa.Text(), nullable=False),
        sa.Column("defaults", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("send_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stale", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("rate", sa.Float(), server_default="0", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "state IN ('draft', 'scheduled', 'running', 'paused', 'cancelled', 'finished')",
            name=op.f("ck_campaign_state"),
        ),
        sa.CheckConstraint("missing IN ('refuse', 'skip')", name=op.f("ck_campaign_missing")),
        sa.ForeignKeyConstraint(
            ["audience_id"], ["audience.id"], name=op.f("fk_campaign_audience_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_campaign_batch_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign")),
        sa.UniqueConstraint("batch_id", name=op.f("uq_campaign_batch_id")),
    )
    op.create_index("ix_campaign_owner", "campaign", ["owner", "id"], unique=False)
    op.create_index(
        "ix_campaign_audience_id",
        "campaign",
        ["audience_id"],
        unique=False,
        postgresql_where=sa.text("audience_id IS NOT NULL"),
    )
    op.create_index(
        "ix_campaign_due", "campaign", ["send_at"], unique=False, postgresql_where=sa.text("state = 'scheduled'")
    )
    op.create_index(
        "ix_campaign_counted_at",
        "campaign",
        ["counted_at"],
        unique=False,
        postgresql_where=sa.text("(started_at IS NOT NULL AND finished_at IS NULL) OR stale"),
    )
    op.add_column("batch", sa.Column("test_of", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.drop_column("batch", "test_of")
    op.drop_table("campaign")
