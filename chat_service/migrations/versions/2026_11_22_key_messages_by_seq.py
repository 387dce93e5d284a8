"""key messages by seq"""

from alembic import op

revision = "c41d7a0be592"
down_revision = "78f83179ed6d"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint(op.f("pk_message"), "message", type_="primary")
    op.drop_constraint(op.f("uq_message_conversation_id_seq"), "message", type_="unique")
    op.create_primary_key(op.f("pk_message"), "message", ["conversation_id", "seq"])


def downgrade() -> None:
    op.drop_constraint(op.f("pk_message"), "message", type_="primary")
    op.create_unique_constraint(op.f("uq_message_conversation_id_seq"), "message", ["conversation_id", "seq"])
    op.create_primary_key(op.f("pk_message"), "message", ["conversation_id", "id"])
