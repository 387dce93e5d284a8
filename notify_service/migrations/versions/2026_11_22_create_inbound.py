"""create inbound"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "803ef1d6c236"
down_revision = "69af84733081"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "inbound_message",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("media", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbound_message")),
    )
    op.create_index("ix_inbound_message_thread", "inbound_message", ["account", "peer", "at", "id"], unique=False)
    op.create_index("uq_inbound_message_provider", "inbound_message", ["account", "provider_id"], unique=True)
    op.create_table(
        "thread",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("last_inbound_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("account", "peer", name=op.f("pk_thread")),
    )
    op.create_index(
        "ix_thread_alias", "thread", ["account", "alias"], unique=False, postgresql_where=sa.text("alias IS NOT NULL")
    )
    op.create_index("ix_thread_last_inbound_at", "thread", ["account", "last_inbound_at"], unique=False)
    op.create_table(
        "told",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("event", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_told")),
    )
    op.create_index(
        "ix_told_due", "told", ["next_at", "id"], unique=False, postgresql_where=sa.text("next_at IS NOT NULL")
    )
    op.create_index("ix_told_received_at", "told", ["received_at"], unique=False)
    op.create_index("uq_told_dedupe", "told", ["account", "dedupe_key"], unique=True)


def downgrade() -> None:
    for table in ("told", "thread", "inbound_message"):
        op.drop_table(table)
