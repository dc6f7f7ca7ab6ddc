"""The webhooks; no trailing slash, because vendors do not follow redirects."""

from django.urls import path

from webhooks.views import AlchemyWebhookView, ReplicateWebhookView

PREFIX = "webhooks/"

urlpatterns = [
    path(f"{PREFIX}alchemy", AlchemyWebhookView.as_view(), name="webhook-alchemy"),
    path(f"{PREFIX}replicate", ReplicateWebhookView.as_view(), name="webhook-replicate"),
]
