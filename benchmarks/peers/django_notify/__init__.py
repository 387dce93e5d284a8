from django_notify.celery import app

__all__ = ["app"]
