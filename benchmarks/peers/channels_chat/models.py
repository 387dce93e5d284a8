from django.db import models


class Message(models.Model):
    """One row a message: what any chat application on this stack stores."""

    conversation = models.CharField(max_length=64)
    client_msg_id = models.UUIDField(unique=True)
    content = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["conversation", "id"], name="message_conversation_id")]
