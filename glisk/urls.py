"""Every URL of the server; the views are named by the apps and the console."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import (
    SpectacularJSONAPIView,
    SpectacularRedocView,
    SpectacularSwaggerSplitView,
)

from glisk.security.second_factor import second_factor, set_up

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/second-factor/", second_factor, name="second-factor"),
    path("admin/second-factor/set-up/", set_up, name="second-factor-set-up"),
    path("", include("glisk.console.urls")),
    path("openapi.json", SpectacularJSONAPIView.as_view(), name="openapi"),
    path("docs", SpectacularSwaggerSplitView.as_view(url_name="openapi"), name="docs"),
    path("redoc", SpectacularRedocView.as_view(url_name="openapi"), name="redoc"),
    path("", include("reveals.urls")),
    # Before the authors: their wallet path would take `leaderboard` for a wallet.
    path("", include("tokens.urls")),
    path("", include("authors.urls")),
    path("", include("webhooks.urls")),
    # After all others: its last pattern takes every address below its own.
    path("admin/", admin.site.urls),
]

handler400 = "glisk.api.exceptions.bad_request"
handler404 = "glisk.api.exceptions.not_found"
handler500 = "glisk.api.exceptions.server_error"
