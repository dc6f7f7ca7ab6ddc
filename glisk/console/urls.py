"""Health, the admin's search, audit and dashboard, and the system's state for scripts."""

from django.urls import path

from glisk.console.audit import audit_page
from glisk.console.dashboard import dashboard_fragment
from glisk.console.health import (
    SystemStateView,
    health,
    health_blockchain,
    health_keeper,
    health_live,
    health_metrics,
    health_ready,
    health_workers,
)
from glisk.console.metrics import metrics
from glisk.console.search import search_page

urlpatterns = [
    path("admin/dashboard/", dashboard_fragment, name="admin-dashboard"),
    path("admin/find/", search_page, name="admin-search"),
    path("admin/audit/", audit_page, name="admin-audit"),
    path("health", health, name="health"),
    path("health/live", health_live, name="health-live"),
    path("health/ready", health_ready, name="health-ready"),
    path("health/blockchain", health_blockchain, name="health-blockchain"),
    path("health/workers", health_workers, name="health-workers"),
    path("health/keeper", health_keeper, name="health-keeper"),
    path("health/metrics", health_metrics, name="health-metrics"),
    path("metrics", metrics, name="metrics"),
    path("api/admin/system/state", SystemStateView.as_view(), name="system-state"),
    path("admin/system/state", SystemStateView.as_view(schema=None)),
]
