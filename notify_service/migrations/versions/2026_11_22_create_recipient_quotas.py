"""create recipient quotas"""

import sqlalchemy as sa
from alembic import op

revision = "e3b19d7f4c62"
down_revision = "e7b3a90c2d51"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "quota_pool",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("used", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_quota_pool")),
    )
    op.create_table(
        "quota_recipient",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("person", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "fence", name=op.f("pk_quota_recipient")),
    )
    op.create_index("ix_quota_recipient_person", "quota_recipient", ["pool", "person", "at"], unique=False)
    op.create_index("ix_quota_recipient_at", "quota_recipient", ["pool", "at"], unique=False)


def downgrade() -> None:
    op.drop_table("quota_recipient")
    op.drop_table("quota_pool")
