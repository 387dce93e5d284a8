from celery import shared_task
from django.core.mail import EmailMultiAlternatives, get_connection
from django.template import Context, Engine
from django.utils import timezone

from django_notify.models import Attempt, Delivery

TEXT = "Hello {{ name }},\n\nyour order {{ order }} has been sent today. Thank you for buying from us.\n\nThe shop\n"
HTML = (
    "<html><body><h1>Hello {{ name }},</h1><p>your order <b>{{ order }}</b> has been sent today. Thank you for buying"
    " from us.</p><p>The shop</p></body></html>"
)
_engine = Engine()
_text, _html = _engine.from_string(TEXT), _engine.from_string(HTML)
# Kept by each process of the worker, as ours keeps its own.
_connection = get_connection()


@shared_task
def send(delivery_id: int) -> None:
    delivery = Delivery.objects.get(pk=delivery_id)
    context = Context(delivery.variables)
    mail = EmailMultiAlternatives(
        f"Your order {delivery.variables['order']}",
        _text.render(context),
        "Shop <shop@example.com>",
        [delivery.address],
        connection=_connection,
    )
    mail.attach_alternative(_html.render(context), "text/html")
    _connection.open()
    mail.send()
    delivery.state, delivery.sent_at = "sent", timezone.now()
    delivery.save(update_fields=["state", "sent_at"])
    Attempt.objects.create(delivery=delivery, decision="sent")
