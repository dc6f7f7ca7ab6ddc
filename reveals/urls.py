"""The reveal API."""

from django.urls import path

from reveals.operations import RevealView

urlpatterns = [
    path("api/admin/reveal", RevealView.as_view(), name="operator-reveal"),
    path("admin/reveal", RevealView.as_view(schema=None)),
]
