import os
from urllib.parse import urlsplit

DEBUG = False
SECRET_KEY = os.environ["PEER_SECRET_KEY"]
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = "django_notify.urls"
WSGI_APPLICATION = "django_notify.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_notify"]
MIDDLEWARE: list[str] = []
LOGGING_CONFIG = None
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]

_database = urlsplit(os.environ["PEER_DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _database.path.lstrip("/"),
        "USER": _database.username,
        "PASSWORD": _database.password,
        "HOST": _database.hostname,
        "PORT": _database.port,
        "CONN_MAX_AGE": None,
    }
}

EMAIL_HOST = "127.0.0.1"
EMAIL_PORT = int(os.environ.get("PEER_SMTP_PORT", "25"))

CELERY_BROKER_URL = os.environ["PEER_REDIS_URL"]
# What is lost with its worker is sent again: the same promise as a row that is claimed.
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 16
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True

HOOK_SECRET = os.environ.get("PEER_HOOK_SECRET", "").encode()
