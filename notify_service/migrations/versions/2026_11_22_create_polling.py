"""create polling and files"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "b7d20c5e91f3"
down_revision = "d16e57c0a839"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "polling",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("polled_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_polling")),
    )
    op.create_table(
        "inbound_file",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("item", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbound_file")),
    )
    op.create_index(
        "ix_inbound_file_due",
        "inbound_file",
        ["next_at"],
        unique=False,
        postgresql_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_index("ix_inbound_file_thread", "inbound_file", ["account", "peer", "id"], unique=False)
    op.create_index(
        "ix_inbound_file_content",
        "inbound_file",
        ["sha256"],
        unique=False,
        postgresql_where=sa.text("sha256 IS NOT NULL"),
    )
    op.create_table(
        "inbound_media",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_inbound_media")),
    )
    op.create_index("ix_inbound_media_kept_at", "inbound_media", ["kept_at"], unique=False)
    op.create_index(
        "ix_delivery_returned",
        "delivery",
        ["channel", "address"],
        unique=False,
        postgresql_where=sa.text("state = 'failed' AND error_class = 'transient'"),
    )


def downgrade() -> None:
    op.drop_index("ix_delivery_returned", table_name="delivery")
    for table in ("inbound_media", "inbound_file", "polling"):
        op.drop_table(table)
