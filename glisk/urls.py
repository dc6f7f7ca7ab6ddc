"""Every URL of the server."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import (
    SpectacularJSONAPIView,
    SpectacularRedocView,
    SpectacularSwaggerView,
)

from glisk.console.dashboard import fragment_view
from glisk.console.health import (
    health,
    health_blockchain,
    health_keeper,
    health_metrics,
    health_workers,
)
from glisk.console.system_api import SystemStateView
from tokens.api.gallery import gallery, gallery_updates

urlpatterns: list[URLPattern | URLResolver] = [
    path("", gallery, name="gallery"),
    path("gallery/updates", gallery_updates, name="gallery-updates"),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/dashboard/", fragment_view, name="admin-dashboard"),
    path("admin/", admin.site.urls),
    path("health", health, name="health"),
    path("health/blockchain", health_blockchain, name="health-blockchain"),
    path("health/workers", health_workers, name="health-workers"),
    path("health/keeper", health_keeper, name="health-keeper"),
    path("health/metrics", health_metrics, name="health-metrics"),
    path("openapi.json", SpectacularJSONAPIView.as_view(), name="openapi"),
    path("docs", SpectacularSwaggerView.as_view(url_name="openapi"), name="docs"),
    path("redoc", SpectacularRedocView.as_view(url_name="openapi"), name="redoc"),
    path("api/admin/system/state", SystemStateView.as_view(), name="system-state"),
    path("", include("reveals.urls")),
    # Before the authors: their wallet path would take `leaderboard` for a wallet.
    path("", include("tokens.urls")),
    path("", include("authors.urls")),
    path("", include("webhooks.urls")),
]

handler400 = "glisk.api.error_views.bad_request"
handler404 = "glisk.api.error_views.not_found"
handler500 = "glisk.api.error_views.server_error"
