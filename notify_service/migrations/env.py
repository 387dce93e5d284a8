from libs.migrations import run
from notify_service.models import Base

run(Base.metadata)
