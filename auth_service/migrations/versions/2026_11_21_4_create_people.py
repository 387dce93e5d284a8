"""create people"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "17c9a3be6058"
down_revision = "e40b7725fd18"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "locations",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("latitude", sa.Double(), nullable=False),
        sa.Column("longitude", sa.Double(), nullable=False),
        sa.Column("shared_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_locations_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_locations")),
    )
    op.create_index("ix_locations_expires_at", "locations", ["expires_at"], unique=False)
    op.create_index("ix_locations_place", "locations", ["latitude", "longitude"], unique=False)
    op.create_table(
        "names",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.Text(collation="C"), nullable=False),
        sa.Column("full_name", sa.Text(), nullable=False),
        sa.Column("grams", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_names_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_names")),
    )
    op.execute(
        """
        INSERT INTO names (user_id, username, full_name, grams)
        SELECT known.id, username, full_name, ARRAY(
            SELECT DISTINCT substr(name, start, size)
            FROM unnest(ARRAY[username, full_name]) AS name, generate_series(2, 3) AS size,
                generate_series(1, length(name) - size + 1) AS start
        )
        FROM (
            SELECT u.id, i.value_norm AS username, lower(trim(u.first_name || ' ' || u.last_name)) AS full_name
            FROM users AS u JOIN identifiers AS i ON i.user_id = u.id AND i.kind = 'username'
        ) AS known
        """
    )
    op.create_index("ix_names_username", "names", ["username"], unique=False)
    op.create_index("ix_names_grams", "names", ["grams"], unique=False, postgresql_using="gin")
    op.create_table(
        "presence",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("last_seen_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_presence_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_presence")),
    )
    op.create_index("ix_presence_last_seen_at", "presence", ["last_seen_at"], unique=False)
    op.create_index("ix_presence_online", "presence", ["user_id"], unique=False, postgresql_where=sa.text("online"))
    op.create_table(
        "contacts",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["contact_id"], ["users.id"], name=op.f("fk_contacts_contact_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_contacts_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "contact_id", name=op.f("pk_contacts")),
    )
    op.create_index("ix_contacts_contact_id", "contacts", ["contact_id"], unique=False)
    op.create_table(
        "blocks",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("blocked_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["blocked_id"], ["users.id"], name=op.f("fk_blocks_blocked_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_blocks_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "blocked_id", name=op.f("pk_blocks")),
    )
    op.create_index("ix_blocks_blocked_id", "blocks", ["blocked_id"], unique=False)
    op.create_table(
        "consumer_position",
        sa.Column("producer", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("producer", name=op.f("pk_consumer_position")),
    )
    op.create_table(
        "dead_event",
        sa.Column("producer", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("died_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("producer", "position", name=op.f("pk_dead_event")),
    )


def downgrade() -> None:
    for table in (
        "dead_event",
        "consumer_position",
        "blocks",
        "contacts",
        "presence",
        "names",
        "locations",
    ):
        op.drop_table(table)
