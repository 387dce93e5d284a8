"""batches know whether their account was named"""

import sqlalchemy as sa
from alembic import op

revision = "d4a81e6c0f27"
down_revision = "f20c6e8b4a17"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batch", sa.Column("account", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("batch", "account")
