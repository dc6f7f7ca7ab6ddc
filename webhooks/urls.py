"""The webhooks; no trailing slash, because vendors do not follow redirects."""

from django.urls import path

from webhooks.views import AlchemyWebhookView, ReplicateWebhookView

urlpatterns = [
    path("webhooks/alchemy", AlchemyWebhookView.as_view(), name="webhook-alchemy"),
    path("webhooks/replicate", ReplicateWebhookView.as_view(), name="webhook-replicate"),
]
