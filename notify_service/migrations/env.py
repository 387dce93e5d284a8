from notify_service.models import Base
from libs.migrations import run

run(Base.metadata)
