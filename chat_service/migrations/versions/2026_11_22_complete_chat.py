"""complete chat"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "78f83179ed6d"
down_revision = "6c0e1f52d9b4"
branch_labels = None
depends_on = None

PARTITIONS = 16


def upgrade() -> None:
    _create_tables()
    _create_more_tables()
    _add_columns()
    _add_checks()


def downgrade() -> None:
    _drop_checks()
    _drop_columns()
    _drop_tables()


def _create_tables() -> None:
    op.create_table(
        "attachment",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=True),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.Column("store_key", sa.Text(), nullable=False),
        sa.Column("thumbnail_key", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachment")),
    )
    op.create_index("ix_attachment_message", "attachment", ["conversation_id", "message_id"], unique=False)
    op.create_index("ix_attachment_owner_id", "attachment", ["owner_id"], unique=False)
    op.create_index(
        "ix_attachment_unused",
        "attachment",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("message_id IS NULL AND released_at IS NULL"),
    )
    op.create_index("ix_attachment_store_key", "attachment", ["store_key"], unique=False)
    op.create_index(
        "ix_attachment_released",
        "attachment",
        ["released_at"],
        unique=False,
        postgresql_where=sa.text("released_at IS NOT NULL"),
    )
    op.create_table(
        "block",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("blocked_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "blocked_id", name=op.f("pk_block")),
    )
    op.create_index(op.f("ix_block_blocked_id"), "block", ["blocked_id"], unique=False)
    op.create_table(
        "doubt",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_doubt")),
    )
    op.create_table(
        "hidden_message",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("hidden_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "conversation_id", "message_id", name=op.f("pk_hidden_message")),
    )
    op.create_table(
        "idempotency_key",
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("answer", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "key", name=op.f("pk_idempotency_key")),
    )
    op.create_index(op.f("ix_idempotency_key_created_at"), "idempotency_key", ["created_at"], unique=False)
    op.create_table(
        "interest",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("from_user_id", sa.Uuid(), nullable=False),
        sa.Column("to_user_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("message", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("responded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'accepted', 'declined', 'withdrawn', 'expired')", name=op.f("ck_interest_status")
        ),
        sa.CheckConstraint("from_user_id <> to_user_id", name=op.f("ck_interest_two_people")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_interest")),
    )
    op.create_index(
        "ix_interest_expires_at",
        "interest",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        op.f("ix_interest_from_user_id_created_at"), "interest", ["from_user_id", "created_at"], unique=False
    )
    op.create_index(op.f("ix_interest_to_user_id_created_at"), "interest", ["to_user_id", "created_at"], unique=False)
    op.create_index(
        "uq_interest_pair",
        "interest",
        [sa.literal_column("least(from_user_id, to_user_id)"), sa.literal_column("greatest(from_user_id, to_user_id)")],
        unique=True,
        postgresql_where=sa.text("status IN ('pending', 'accepted')"),
    )
    op.create_table(
        "invisible",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_invisible")),
    )
    op.create_table(
        "mention",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "conversation_id", "seq", name=op.f("pk_mention")),
    )
    op.create_table(
        "pin",
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("pinned_by", sa.Uuid(), nullable=False),
        sa.Column("pinned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("conversation_id", "message_id", name=op.f("pk_pin")),
    )
    op.create_index(
        "ix_pin_expires_at", "pin", ["expires_at"], unique=False, postgresql_where=sa.text("expires_at IS NOT NULL")
    )


def _create_more_tables() -> None:
    op.create_table(
        "message_search",
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tokens", postgresql.TSVECTOR(), nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", "message_id", name=op.f("pk_message_search")),
    )
    op.create_index(
        op.f("ix_message_search_tokens"), "message_search", ["tokens"], unique=False, postgresql_using="gin"
    )
    op.create_table(
        "reaction",
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("emoji", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", "message_id", "user_id", "emoji", name=op.f("pk_reaction")),
        postgresql_partition_by="HASH (conversation_id)",
    )
    for number in range(PARTITIONS):
        op.execute(
            f"CREATE TABLE reaction_p{number:02} PARTITION OF reaction"
            f" FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number})"
        )
    op.create_table(
        "report",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("reporter_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("snapshot", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolved_by", sa.Uuid(), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint("status IN ('open', 'resolved', 'dismissed')", name=op.f("ck_report_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        sa.UniqueConstraint("message_id", "reporter_id", name=op.f("uq_report_message_id_reporter_id")),
    )
    op.create_index("ix_report_open", "report", ["id"], unique=False, postgresql_where=sa.text("status = 'open'"))
    op.create_index(op.f("ix_report_reporter_id_created_at"), "report", ["reporter_id", "created_at"], unique=False)
    op.create_index(op.f("ix_report_conversation_id_id"), "report", ["conversation_id", "id"], unique=False)
    op.create_table(
        "revision",
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("editor_id", sa.Uuid(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", "message_id", "version", name=op.f("pk_revision")),
    )
    op.create_table(
        "saved_message",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "message_id", name=op.f("pk_saved_message")),
    )
    op.create_index(op.f("ix_saved_message_message_id"), "saved_message", ["message_id"], unique=False)
    op.create_table(
        "thread_member",
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("root_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("following", sa.Boolean(), nullable=False),
        sa.Column("last_read_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", "root_id", "user_id", name=op.f("pk_thread_member")),
    )
    op.create_index(op.f("ix_thread_member_user_id"), "thread_member", ["user_id"], unique=False)


def _add_columns() -> None:
    op.add_column("sighting", sa.Column("idle", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("conversation", sa.Column("is_private", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    op.add_column(
        "conversation", sa.Column("allow_file_sharing", sa.Boolean(), server_default=sa.text("true"), nullable=False)
    )
    op.add_column(
        "conversation", sa.Column("allow_voice_messages", sa.Boolean(), server_default=sa.text("true"), nullable=False)
    )
    op.add_column("conversation", sa.Column("history", sa.Text(), server_default=sa.text("'all'"), nullable=False))
    op.add_column("conversation", sa.Column("slow_seconds", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("conversation", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_conversation_public",
        "conversation",
        ["number"],
        unique=False,
        postgresql_where=sa.text("NOT is_private AND deleted_at IS NULL"),
    )
    op.add_column("member", sa.Column("joined_event_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("member", sa.Column("shown_read_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column(
        "member", sa.Column("last_delivered_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("member", sa.Column("last_sent_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("member", sa.Column("barred", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("member", sa.Column("muted_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("member", sa.Column("notify", sa.Text(), server_default=sa.text("'all'"), nullable=False))
    op.add_column("member", sa.Column("touched_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("message", sa.Column("thread_root_id", sa.Uuid(), nullable=True))
    op.add_column("message", sa.Column("thread_seq", sa.BigInteger(), nullable=True))
    op.add_column("message", sa.Column("reply_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("message", sa.Column("last_reply_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("message", sa.Column("thread_only", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("message", sa.Column("uncounted", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("message", sa.Column("importance", sa.Text(), server_default=sa.text("'normal'"), nullable=False))
    op.add_column("message", sa.Column("priority", sa.Text(), server_default=sa.text("'normal'"), nullable=False))
    op.add_column("message", sa.Column("attachments", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("message", sa.Column("mentions", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("message", sa.Column("forwarded_from", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("message", sa.Column("reactions", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("message", sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("message", sa.Column("edited_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("message", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_message_forwarded",
        "message",
        ["conversation_id"],
        unique=False,
        postgresql_where=sa.text("forwarded_from IS NOT NULL"),
    )
    op.create_index(
        "ix_message_thread",
        "message",
        ["conversation_id", "thread_root_id", "thread_seq"],
        unique=False,
        postgresql_where=sa.text("thread_root_id IS NOT NULL"),
    )
    op.create_index(
        "ix_message_threads",
        "message",
        ["conversation_id", sa.literal_column("last_reply_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("reply_seq > 0"),
    )
    op.create_index(
        "ix_message_uncounted",
        "message",
        ["conversation_id", "seq"],
        unique=False,
        postgresql_where=sa.text("uncounted"),
    )
    op.add_column("profile", sa.Column("first_name", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("profile", sa.Column("last_name", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("profile", sa.Column("email", sa.Text(), nullable=True))
    op.add_column(
        "profile", sa.Column("direct_messages", sa.Text(), server_default=sa.text("'everyone'"), nullable=False)
    )
    op.add_column(
        "profile",
        sa.Column("privacy", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.create_index(op.f("ix_profile_number"), "profile", ["number"], unique=False)
    op.add_column("profile", sa.Column("suspended", sa.Boolean(), server_default=sa.text("false"), nullable=False))


def _add_checks() -> None:
    op.drop_constraint(op.f("ck_member_role"), "member")
    roles = "'owner', 'admin', 'moderator', 'member', 'guest', 'read_only'"
    op.create_check_constraint(op.f("ck_member_role"), "member", f"role IN ({roles})")
    op.create_check_constraint(op.f("ck_member_notify"), "member", "notify IN ('all', 'mentions', 'none')")
    op.create_check_constraint(op.f("ck_conversation_history"), "conversation", "history IN ('all', 'since_joining')")
    importance = "importance IN ('normal', 'important', 'urgent')"
    op.create_check_constraint(op.f("ck_message_importance"), "message", importance)
    op.create_check_constraint(op.f("ck_message_priority"), "message", "priority IN ('low', 'normal', 'high')")
    op.execute("UPDATE member SET shown_read_seq = last_read_seq, last_delivered_seq = last_read_seq")
    # What was copied before knows nothing of the new columns: any version that comes is newer.
    op.execute("UPDATE profile SET version = 0 WHERE NOT erased")


def _drop_checks() -> None:
    op.drop_constraint(op.f("ck_message_priority"), "message")
    op.drop_constraint(op.f("ck_message_importance"), "message")
    op.drop_constraint(op.f("ck_conversation_history"), "conversation")
    op.drop_constraint(op.f("ck_member_notify"), "member")
    op.drop_constraint(op.f("ck_member_role"), "member")
    op.execute("UPDATE member SET role = 'member' WHERE role NOT IN ('owner', 'admin', 'member')")
    op.create_check_constraint(op.f("ck_member_role"), "member", "role IN ('owner', 'admin', 'member')")


def _drop_columns() -> None:
    op.drop_column("sighting", "idle")
    op.drop_index(op.f("ix_profile_number"), table_name="profile")
    op.drop_column("profile", "suspended")
    op.drop_column("profile", "privacy")
    op.drop_column("profile", "direct_messages")
    op.drop_column("profile", "email")
    op.drop_column("profile", "last_name")
    op.drop_column("profile", "first_name")
    op.drop_index("ix_message_uncounted", table_name="message", postgresql_where=sa.text("uncounted"))
    op.drop_index("ix_message_threads", table_name="message", postgresql_where=sa.text("reply_seq > 0"))
    op.drop_index("ix_message_forwarded", table_name="message", postgresql_where=sa.text("forwarded_from IS NOT NULL"))
    op.drop_index("ix_message_thread", table_name="message", postgresql_where=sa.text("thread_root_id IS NOT NULL"))
    op.drop_column("message", "deleted_at")
    op.drop_column("message", "edited_at")
    op.drop_column("message", "version")
    op.drop_column("message", "reactions")
    op.drop_column("message", "forwarded_from")
    op.drop_column("message", "mentions")
    op.drop_column("message", "attachments")
    op.drop_column("message", "priority")
    op.drop_column("message", "importance")
    op.drop_column("message", "uncounted")
    op.drop_column("message", "thread_only")
    op.drop_column("message", "last_reply_at")
    op.drop_column("message", "reply_seq")
    op.drop_column("message", "thread_seq")
    op.drop_column("message", "thread_root_id")
    op.drop_column("member", "touched_at")
    op.drop_column("member", "notify")
    op.drop_column("member", "muted_until")
    op.drop_column("member", "barred")
    op.drop_column("member", "last_sent_at")
    op.drop_column("member", "last_delivered_seq")
    op.drop_column("member", "shown_read_seq")
    op.drop_column("member", "joined_event_seq")
    op.drop_index(
        "ix_conversation_public",
        table_name="conversation",
        postgresql_where=sa.text("NOT is_private AND deleted_at IS NULL"),
    )
    op.drop_column("conversation", "deleted_at")
    op.drop_column("conversation", "slow_seconds")
    op.drop_column("conversation", "history")
    op.drop_column("conversation", "allow_voice_messages")
    op.drop_column("conversation", "allow_file_sharing")
    op.drop_column("conversation", "is_private")


def _drop_tables() -> None:
    op.drop_index(op.f("ix_message_search_tokens"), table_name="message_search", postgresql_using="gin")
    op.drop_table("message_search")
    op.drop_index(op.f("ix_thread_member_user_id"), table_name="thread_member")
    op.drop_table("thread_member")
    op.drop_index(op.f("ix_saved_message_message_id"), table_name="saved_message")
    op.drop_table("saved_message")
    op.drop_table("revision")
    op.drop_index("ix_report_open", table_name="report", postgresql_where=sa.text("status = 'open'"))
    op.drop_table("report")
    op.drop_table("reaction")
    op.drop_index("ix_pin_expires_at", table_name="pin", postgresql_where=sa.text("expires_at IS NOT NULL"))
    op.drop_table("pin")
    op.drop_table("mention")
    op.drop_table("invisible")
    op.drop_index(
        "uq_interest_pair", table_name="interest", postgresql_where=sa.text("status IN ('pending', 'accepted')")
    )
    op.drop_index(op.f("ix_interest_to_user_id_created_at"), table_name="interest")
    op.drop_index(op.f("ix_interest_from_user_id_created_at"), table_name="interest")
    op.drop_index("ix_interest_expires_at", table_name="interest", postgresql_where=sa.text("status = 'pending'"))
    op.drop_table("interest")
    op.drop_index(op.f("ix_idempotency_key_created_at"), table_name="idempotency_key")
    op.drop_table("idempotency_key")
    op.drop_table("hidden_message")
    op.drop_table("doubt")
    op.drop_index(op.f("ix_block_blocked_id"), table_name="block")
    op.drop_table("block")
    op.drop_index(
        "ix_attachment_released", table_name="attachment", postgresql_where=sa.text("released_at IS NOT NULL")
    )
    op.drop_index("ix_attachment_store_key", table_name="attachment")
    op.drop_index(
        "ix_attachment_unused",
        table_name="attachment",
        postgresql_where=sa.text("message_id IS NULL AND released_at IS NULL"),
    )
    op.drop_index("ix_attachment_owner_id", table_name="attachment")
    op.drop_index("ix_attachment_message", table_name="attachment")
    op.drop_table("attachment")
