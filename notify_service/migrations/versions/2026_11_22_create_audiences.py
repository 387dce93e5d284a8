"""create audiences"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "a4d9e07c51f3"
down_revision = "c40d8b5e7a19"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audience",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("columns", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("valid", sa.Integer(), server_default="0", nullable=False),
        sa.Column("invalid", sa.Integer(), server_default="0", nullable=False),
        sa.Column("duplicate", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lines", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('open', 'ready', 'failed')", name=op.f("ck_audience_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audience")),
    )
    op.create_index("ix_audience_owner", "audience", ["owner", "id"], unique=False)
    op.create_table(
        "audience_member",
        sa.Column("audience_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("variables", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.ForeignKeyConstraint(
            ["audience_id"], ["audience.id"], name=op.f("fk_audience_member_audience_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("audience_id", "position", name=op.f("pk_audience_member")),
    )
    op.create_index(
        "ix_audience_member_address",
        "audience_member",
        ["audience_id", sa.text("hashtextextended(address, 0)")],
        unique=False,
    )
    op.create_index(
        "ix_audience_member_user",
        "audience_member",
        ["user_id"],
        unique=False,
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    op.create_table(
        "audience_problem",
        sa.Column("audience_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["audience_id"], ["audience.id"], name=op.f("fk_audience_problem_audience_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("audience_id", "line", "field", name=op.f("pk_audience_problem")),
    )


def downgrade() -> None:
    for table in ("audience_problem", "audience_member", "audience"):
        op.drop_table(table)
