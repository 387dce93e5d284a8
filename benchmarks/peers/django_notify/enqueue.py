"""`python -m django_notify.enqueue 1000`: so many mails, rows first, then their tasks over one connection."""

import sys

import django

django.setup()

from django_notify.celery import app  # noqa: E402
from django_notify.models import Delivery  # noqa: E402
from django_notify.tasks import send  # noqa: E402


def main(count: int) -> None:
    made = Delivery.objects.bulk_create(
        [
            Delivery(address=f"r{number}@example.com", variables={"name": "Ada", "order": f"A-{number}"})
            for number in range(count)
        ],
        batch_size=1000,
    )
    with app.producer_pool.acquire(block=True) as producer:
        for each in made:
            send.apply_async((each.pk,), producer=producer)


if __name__ == "__main__":
    main(int(sys.argv[1]))
