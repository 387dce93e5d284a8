"""complete accounts"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "5c1f0b7a2d44"
down_revision = "9eaa32e2a2a3"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "users", sa.Column("privacy", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False)
    )
    op.add_column(
        "users", sa.Column("preferences", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False)
    )
    op.add_column("users", sa.Column("direct_messages", sa.Text(), server_default="everyone", nullable=False))
    op.add_column("users", sa.Column("allowed_countries", postgresql.ARRAY(sa.Text()), nullable=True))
    op.add_column(
        "users", sa.Column("must_change_password", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column("users", sa.Column("suspended_reason", sa.Text(), nullable=True))
    op.add_column("users", sa.Column("deletion_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.create_check_constraint(op.f("ck_users_direct_messages"), "users", "direct_messages IN ('everyone', 'contacts')")
    op.create_index(
        "ix_users_deletion_at",
        "users",
        ["deletion_at"],
        unique=False,
        postgresql_where=sa.text("deletion_at IS NOT NULL"),
    )
    op.add_column("one_time_tokens", sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_table(
        "identities",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("linked_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_used_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_identities_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identities")),
        sa.UniqueConstraint("provider", "subject", name=op.f("uq_identities_provider_subject")),
    )
    op.create_index("ix_identities_user_id", "identities", ["user_id"], unique=False)
    op.create_table(
        "exports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=True),
        sa.Column("requested_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ready_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('waiting', 'ready', 'failed')", name=op.f("ck_exports_state")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_exports_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
    )
    op.create_index("ix_exports_user_id", "exports", ["user_id", "id"], unique=False)
    op.create_index(
        "ix_exports_waiting", "exports", ["id"], unique=False, postgresql_where=sa.text("state = 'waiting'")
    )
    op.create_table(
        "devices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_seen_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_devices_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("hash", name=op.f("uq_devices_hash")),
    )
    op.create_index("ix_devices_user_id", "devices", ["user_id", "last_seen_at"], unique=False)
    # The default is for processes of the version before, which still run while this does.
    op.add_column(
        "sessions",
        sa.Column(
            "authenticated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
    )
    op.execute("UPDATE sessions SET authenticated_at = created_at")
    op.add_column("sessions", sa.Column("cookie", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("sessions", sa.Column("device_id", sa.Uuid(), nullable=True))
    op.add_column("sessions", sa.Column("actor_id", sa.Uuid(), nullable=True))
    op.create_index("ix_sessions_device_id", "sessions", ["device_id"], unique=False)
    op.create_index(
        "ix_sessions_actor_id",
        "sessions",
        ["actor_id"],
        unique=False,
        postgresql_where=sa.text("actor_id IS NOT NULL"),
    )
    op.create_foreign_key(
        op.f("fk_sessions_device_id"), "sessions", "devices", ["device_id"], ["id"], ondelete="SET NULL"
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("ending", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_used_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("revoked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_tokens_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_api_tokens_hash")),
    )
    op.create_index("ix_api_tokens_user_id", "api_tokens", ["user_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_column("sessions", "actor_id")
    op.drop_column("sessions", "device_id")
    op.drop_column("sessions", "cookie")
    op.drop_column("sessions", "authenticated_at")
    op.drop_column("one_time_tokens", "data")
    for column in (
        "deletion_at",
        "suspended_reason",
        "must_change_password",
        "allowed_countries",
        "direct_messages",
        "preferences",
        "privacy",
    ):
        op.drop_column("users", column)
    for table in (
        "api_tokens",
        "devices",
        "exports",
        "identities",
    ):
        op.drop_table(table)
