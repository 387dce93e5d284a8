"""create provider templates"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c40d8b5e7a19"
down_revision = "9a27c4e1d0f6"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "account",
        sa.Column("told", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.create_table(
        "provider_template",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("header", sa.Text(), nullable=True),
        sa.Column("body", sa.Integer(), nullable=False),
        sa.Column("buttons", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("beyond", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account"], ["account.name"], name=op.f("fk_provider_template_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account", "name", "language", name=op.f("pk_provider_template")),
    )
    op.create_table(
        "template_sync",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("synced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account"], ["account.name"], name=op.f("fk_template_sync_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_template_sync")),
    )
    # Accounts that are there already are asked for theirs as well.
    op.execute(
        "INSERT INTO template_sync (account, next_at) SELECT name, now() FROM account WHERE provider = 'whatsapp'"
    )


def downgrade() -> None:
    op.drop_table("template_sync")
    op.drop_table("provider_template")
    op.drop_column("account", "told")
