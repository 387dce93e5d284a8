from django.urls import path

from django_notify.views import hear

urlpatterns = [path("hooks/whatsapp/<str:account>", hear)]
