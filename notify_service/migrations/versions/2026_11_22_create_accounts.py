"""create accounts"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "69af84733081"
down_revision = "b27d41c90e35"
branch_labels = None
depends_on = None


_FORMER_STATES = (
    "state IN ('queued', 'claimed', 'sending', 'retry', 'sent', 'suppressed', 'expired', 'failed', 'dead', 'unknown')"
)
_STATES = (
    "state IN ('queued', 'claimed', 'sending', 'retry', 'sent', 'delivered', 'read', "
    "'suppressed', 'duplicate', 'cancelled', 'expired', 'failed', 'dead', 'unknown')"
)


def upgrade() -> None:
    _create_accounts()
    _create_batches()
    _change_deliveries()


def _create_accounts() -> None:
    op.create_table(
        "account",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("secrets", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("down_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rank", sa.SmallInteger(), server_default="100", nullable=False),
        sa.Column("rate", sa.Double(), nullable=True),
        sa.Column("daily_limit", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("source IN ('settings', 'api')", name=op.f("ck_account_source")),
        sa.CheckConstraint("daily_limit >= 0", name=op.f("ck_account_daily_limit")),
        sa.CheckConstraint("rate > 0", name=op.f("ck_account_rate")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_account")),
    )
    op.create_index("ix_account_channel", "account", ["channel", "rank", "name"], unique=False)
    op.create_table(
        "quota_use",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("account", "minute", name=op.f("pk_quota_use")),
    )
    op.create_table(
        "suppression",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "reason IN ('bounce', 'complaint', 'unsubscribe', 'provider', 'manual')", name=op.f("ck_suppression_reason")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppression")),
    )
    op.create_index("uq_suppression_address", "suppression", ["channel", "address", "category"], unique=True)
    op.create_index("ix_suppression_created_at", "suppression", ["created_at", "id"], unique=False)


def _create_batches() -> None:
    op.create_table(
        "batch",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("route", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("held", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch")),
    )
    op.create_index("ix_batch_owner", "batch", ["owner", "id"], unique=False)


def _change_deliveries() -> None:
    op.add_column("delivery", sa.Column("queue", sa.Text(), nullable=True))
    op.execute("UPDATE delivery SET queue = owner")
    op.alter_column("delivery", "queue", nullable=False)
    op.add_column("delivery", sa.Column("batch_id", sa.Uuid(), nullable=True))
    op.add_column("delivery", sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("delivery", sa.Column("read_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("delivery", sa.Column("dedupe_key", sa.Text(), nullable=True))
    op.add_column("delivery", sa.Column("step", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("delivery", sa.Column("follow_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("delivery", sa.Column("addresses", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.alter_column("delivery", "template", existing_type=sa.TEXT(), nullable=True)
    op.drop_index(
        op.f("ix_delivery_due"),
        table_name="delivery",
        postgresql_where="(state = ANY (ARRAY['queued'::text, 'retry'::text]))",
    )
    op.create_index(
        "ix_delivery_due",
        "delivery",
        ["account", "lane", "queue", "next_at", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'retry')"),
    )
    op.create_index(
        "ix_delivery_batch",
        "delivery",
        ["batch_id", "id"],
        unique=False,
        postgresql_where=sa.text("batch_id IS NOT NULL"),
    )
    op.create_index(
        "ix_delivery_dedupe",
        "delivery",
        ["channel", "address", "category", "dedupe_key", "created_at"],
        unique=False,
        postgresql_where=sa.text("dedupe_key IS NOT NULL"),
    )
    op.create_index(
        "ix_delivery_direct",
        "delivery",
        ["owner", "channel", "created_at"],
        unique=False,
        postgresql_where=sa.text("category = 'direct'"),
    )
    op.create_index(
        "ix_delivery_follow", "delivery", ["follow_at"], unique=False, postgresql_where=sa.text("follow_at IS NOT NULL")
    )
    op.create_index(
        "ix_delivery_provider",
        "delivery",
        ["account", "provider_id"],
        unique=False,
        postgresql_where=sa.text("provider_id IS NOT NULL"),
    )
    op.drop_constraint("state", "delivery", type_="check")
    op.create_check_constraint("state", "delivery", _STATES)
    op.create_check_constraint("content", "delivery", "(template IS NULL) <> (batch_id IS NULL)")
    op.create_foreign_key(op.f("fk_delivery_batch_id"), "delivery", "batch", ["batch_id"], ["id"], ondelete="CASCADE")


def downgrade() -> None:
    """Gives up what only this version knows: deliveries of batches, and receipts."""
    op.execute("DELETE FROM delivery WHERE batch_id IS NOT NULL")
    op.execute("UPDATE delivery SET state = 'sent' WHERE state IN ('delivered', 'read')")
    op.drop_constraint("content", "delivery", type_="check")
    op.drop_constraint("state", "delivery", type_="check")
    op.create_check_constraint("state", "delivery", _FORMER_STATES)
    op.drop_index("ix_delivery_due", table_name="delivery")
    op.drop_index("ix_delivery_provider", table_name="delivery")
    op.drop_index("ix_delivery_direct", table_name="delivery")
    for column in (
        "queue",
        "batch_id",
        "delivered_at",
        "read_at",
        "dedupe_key",
        "step",
        "follow_at",
        "addresses",
    ):
        op.drop_column("delivery", column)
    op.alter_column("delivery", "template", nullable=False)
    op.create_index(
        "ix_delivery_due",
        "delivery",
        ["account", "lane", "next_at", "id"],
        postgresql_where=sa.text("state IN ('queued', 'retry')"),
    )
    for table in ("batch", "suppression", "quota_use", "account"):
        op.drop_table(table)
