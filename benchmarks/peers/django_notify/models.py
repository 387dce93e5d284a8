from django.db import models


class Delivery(models.Model):
    """One row a recipient, as ours."""

    address = models.EmailField()
    variables = models.JSONField()
    state = models.CharField(max_length=16, default="queued")
    sent_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)


class Attempt(models.Model):
    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE)
    at = models.DateTimeField(auto_now_add=True)
    decision = models.CharField(max_length=16)


class Told(models.Model):
    """What a provider has said; the key makes saying it again harmless."""

    key = models.CharField(max_length=128, unique=True)
    item = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)
