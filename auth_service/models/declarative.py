"""What all tables of auth share."""

from datetime import datetime

from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase

from libs import consumer, outbox
from libs.db import new_metadata


class Base(DeclarativeBase):
    metadata = new_metadata()
    type_annotation_map = {datetime: TIMESTAMP(timezone=True), str: Text, list[str]: ARRAY(Text)}  # noqa: RUF012


outbox.add_tables(Base.metadata)
consumer.add_tables(Base.metadata)
