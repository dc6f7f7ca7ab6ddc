"""The reveal API."""

from django.urls import path

from reveals.operations import RevealView
from reveals.views import ProvenanceView

urlpatterns = [
    path("api/tokens/<int:token_id>/provenance", ProvenanceView.as_view(), name="token-provenance"),
    path("api/admin/reveal", RevealView.as_view(), name="operator-reveal"),
    path("admin/reveal", RevealView.as_view(schema=None)),
]
