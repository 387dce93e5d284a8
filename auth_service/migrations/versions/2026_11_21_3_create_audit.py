"""create audit"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "e40b7725fd18"
down_revision = "a81e6d09c3f2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        sa.Column("ip", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("prev_hash", sa.LargeBinary(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", "at", name=op.f("pk_audit")),
        sa.UniqueConstraint("event_id", "at", name=op.f("uq_audit_event_id_at")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index("ix_audit_action", "audit", ["action", "id"], unique=False)
    op.create_index("ix_audit_actor_id", "audit", ["actor_id", "id"], unique=False)
    op.create_index("ix_audit_position", "audit", ["position"], unique=False)
    op.create_index("ix_audit_subject_id", "audit", ["subject_id", "id"], unique=False)
    op.create_index("ix_audit_unsealed", "audit", ["id"], unique=False, postgresql_where=sa.text("position IS NULL"))

    _keep_what_belongs_to_no_month()
    _refuse_changes()


def _keep_what_belongs_to_no_month() -> None:
    """The worker makes a partition a month, ahead of time; this one takes what comes when it could not."""
    op.execute("CREATE TABLE audit_p_rest PARTITION OF audit DEFAULT")


def _refuse_changes() -> None:
    """Even the service's own role can only append, and seal a row once. Dropping a whole month is a change of schema."""
    op.execute(
        """
        CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' AND OLD.position IS NULL
                AND to_jsonb(NEW) - ARRAY['position', 'prev_hash', 'hash']
                  = to_jsonb(OLD) - ARRAY['position', 'prev_hash', 'hash'] THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
        END
        $$
        """
    )
    op.execute(
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit"
        " FOR EACH ROW EXECUTE FUNCTION audit_is_append_only()"
    )


def downgrade() -> None:
    for table in ("audit",):
        op.drop_table(table)
    op.execute("DROP FUNCTION audit_is_append_only")
