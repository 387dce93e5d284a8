"""create happenings"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "e83b1f6a4c27"
down_revision = "d4a81e6c0f27"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "happening",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_happening")),
    )
    op.create_index("ix_account_listening", "account", ["name"], postgresql_where=sa.text("config ? 'events'"))
    op.create_index(
        "ix_delivery_event_user",
        "delivery",
        [sa.text("(variables #>> '{data,user}')")],
        postgresql_where=sa.text("template = 'event'"),
    )


def downgrade() -> None:
    op.drop_index("ix_delivery_event_user", table_name="delivery")
    op.drop_index("ix_account_listening", table_name="account")
    op.drop_table("happening")
