import hashlib
import hmac
import json

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from django_notify.models import Told


@require_POST
def hear(request: HttpRequest, account: str) -> HttpResponse:
    """Proved over the bytes that came, stored before it is answered, harmless when told again."""
    made = hmac.new(settings.HOOK_SECRET, request.body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(f"sha256={made}", request.headers.get("X-Hub-Signature-256", "")):
        return HttpResponse(status=403)
    told = [
        Told(key=f"{account}:{status['id']}:{status['status']}", item=status)
        for entry in json.loads(request.body)["entry"]
        for change in entry["changes"]
        for status in change["value"].get("statuses", [])
    ]
    Told.objects.bulk_create(told, ignore_conflicts=True)
    return HttpResponse(status=200)
