"""untie batches: deliveries name theirs without a foreign key, which looked for it anew for every row of a campaign"""

from alembic import op

revision = "b60f2d93ae17"
down_revision = "e3b19d7f4c62"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint(op.f("fk_delivery_batch_id"), "delivery", type_="foreignkey")


def downgrade() -> None:
    op.create_foreign_key(op.f("fk_delivery_batch_id"), "delivery", "batch", ["batch_id"], ["id"], ondelete="CASCADE")
