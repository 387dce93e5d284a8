"""What all tables of chat share."""

from sqlalchemy import DateTime
from sqlalchemy.orm import DeclarativeBase

from libs import consumer, outbox
from libs.db import new_metadata

Moment = DateTime(timezone=True)


class Base(DeclarativeBase):
    metadata = new_metadata()


outbox.add_tables(Base.metadata)
consumer.add_tables(Base.metadata)
