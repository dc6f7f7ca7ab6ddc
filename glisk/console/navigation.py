"""The admin's pages in groups: for the sidebar, and for the search by name."""

from typing import Any, NamedTuple

from django.http import HttpRequest
from django.urls import reverse

from glisk.console.audit import URL_NAME as AUDIT
from glisk.console.audit import may_see_audit
from glisk.console.controls import URL_NAME as CONTROLS
from glisk.console.controls import may_see_controls


class Page(NamedTuple):
    """A page of the admin; `words` are others by which people look for it."""

    title: str
    icon: str
    link: str
    words: str = ""


# Name, icon, app and model of each list. The first group is always in sight; of the others only the
# one that is open, so that all fit a screen of 720 pixels.
_GROUPS: dict[str, list[tuple[str, str, str, str]]] = {
    "": [
        ("Tokens", "deployed_code", "tokens", "token"),
        ("Authors", "brush", "authors", "author"),
    ],
    "Pipeline": [
        ("Webhook events", "webhook", "webhooks", "webhookevent"),
        ("Mint events", "token", "tokens", "mintevent"),
        ("Generation jobs", "palette", "tokens", "imagegenerationjob"),
        ("IPFS uploads", "cloud_upload", "tokens", "ipfsuploadrecord"),
        ("Reveal batches", "stacks", "reveals", "revealbatch"),
        ("Reveal transactions", "receipt_long", "reveals", "revealtransaction"),
        ("Prompt samples", "science", "tokens", "promptsample"),
    ],
    "System": [
        ("Alerts", "notifications", "glisk", "alert"),
        ("Workers", "monitor_heart", "glisk", "workerheartbeat"),
        ("System state", "database", "glisk", "systemstate"),
        ("Schedules", "schedule", "django_q", "schedule"),
        ("Failed tasks", "error", "django_q", "failure"),
    ],
    "Access": [
        ("Users", "person", "auth", "user"),
        ("Groups", "group", "auth", "group"),
        ("API tokens", "key", "knox", "authtoken"),
    ],
}


def pages(user: Any) -> dict[str, list[Page]]:
    """Return the pages that somebody may see, by group."""
    found = {
        group: [
            Page(title, icon, reverse(f"admin:{app}_{model}_changelist"))
            for title, icon, app, model in lists
            if user.has_perm(f"{app}.view_{model}")
        ]
        for group, lists in _GROUPS.items()
    }
    first = [Page("Dashboard", "space_dashboard", reverse("admin:index"), "home status problems")]
    if may_see_controls(user):
        words = "pause resume breaker rate limit vendor reveal all reconcile recover drift"
        first.append(Page("Controls", "toggle_on", reverse(f"admin:{CONTROLS}"), words))
    found[""] = [*first, *found[""]]
    if may_see_audit(user):
        words = "history log who did what operator actions"
        found[""].append(Page("Audit", "history", reverse(AUDIT), words))
    return found


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the groups of pages that this user may see (Unfold's callback)."""
    here = request.path
    links = [page.link for group in pages(request.user).values() for page in group]
    # The controls' address is below that of the stored state: the longest one is meant.
    active = max((link for link in links if _is_below(here, link)), key=len, default="")
    return [
        {
            "title": title,
            "separator": bool(title),
            "collapsible": bool(title),
            "items": [
                {
                    "title": page.title,
                    "icon": page.icon,
                    "link": page.link,
                    "active": page.link == active,
                }
                for page in group
            ],
        }
        for title, group in pages(request.user).items()
    ]


def _is_below(here: str, link: str) -> bool:
    return here == link or (here.startswith(link) and link != reverse("admin:index"))
