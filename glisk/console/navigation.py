"""The admin's sidebar."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from glisk.console.controls import URL_NAME as CONTROLS
from glisk.console.controls import may_control

# Name, icon, app and model of each page.
_GROUPS: dict[str, list[tuple[str, str, str, str]]] = {
    "Pipeline": [
        ("Tokens", "deployed_code", "tokens", "token"),
        ("Generation jobs", "palette", "tokens", "imagegenerationjob"),
        ("Uploads", "cloud_upload", "tokens", "ipfsuploadrecord"),
    ],
    "Chain": [
        ("Mint events", "token", "tokens", "mintevent"),
        ("Reveal batches", "stacks", "reveals", "revealbatch"),
        ("Reveal transactions", "receipt_long", "reveals", "revealtransaction"),
        ("Webhook events", "webhook", "webhooks", "webhookevent"),
    ],
    "Authors": [
        ("Authors", "brush", "authors", "author"),
        ("Samples", "science", "tokens", "promptsample"),
    ],
    "System": [
        ("Alerts", "notifications", "glisk", "alert"),
        ("Workers", "monitor_heart", "glisk", "workerheartbeat"),
        ("System state", "database", "glisk", "systemstate"),
        ("Schedules", "schedule", "django_q", "schedule"),
        ("Failed tasks", "error", "django_q", "failure"),
        ("Users", "person", "auth", "user"),
        ("Groups", "group", "auth", "group"),
        ("API tokens", "key", "knox", "authtoken"),
    ],
}


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the groups of pages that this user may see."""
    dashboard = {"title": "Dashboard", "icon": "space_dashboard", "link": reverse("admin:index")}
    groups: list[dict[str, Any]] = [{"title": "", "separator": False, "items": [dashboard]}]
    for title, pages in _GROUPS.items():
        items: list[dict[str, Any]] = [
            {"title": name, "icon": icon, "link": reverse(f"admin:{app}_{model}_changelist")}
            for name, icon, app, model in pages
            if request.user.has_perm(f"{app}.view_{model}")
        ]
        groups.append({"title": title, "separator": True, "items": items})
    if may_control(request.user):
        link = reverse(f"admin:{CONTROLS}")
        if request.path.startswith(link):
            for item in items:  # their address is below that of the system state
                item["active"] = False
        items.insert(0, {"title": "Controls", "icon": "toggle_on", "link": link})
    return groups
