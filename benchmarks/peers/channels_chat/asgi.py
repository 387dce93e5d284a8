import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "channels_chat.settings")

from django.core.asgi import get_asgi_application  # noqa: E402

http = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import re_path  # noqa: E402

from channels_chat.consumers import ChatConsumer  # noqa: E402

routes = [re_path(r"^ws/(?P<role>listen|send)/(?P<conversation>[0-9a-z-]+)/$", ChatConsumer.as_asgi())]
application = ProtocolTypeRouter({"http": http, "websocket": URLRouter(routes)})
