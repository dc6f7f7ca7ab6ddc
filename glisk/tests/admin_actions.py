"""Run actions as the admin's pages do: open the confirmation, take its form, send it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

REASON = "because <b>I</b> say so"
_HIDDEN = re.compile(r'<input type="hidden" name="(keys|next|once)" value="([^"]*)"')


@dataclass(frozen=True)
class Said:
    """What the page after an action says: what was done, and what was not."""

    done: list[str]
    skipped: list[str]


def operator(client: Client, *permissions: str, name: str = "maria") -> User:
    """Log in somebody with just these permissions (`app.codename`)."""
    user = User.objects.create_user(name, is_staff=True)
    for permission in permissions:
        app, _, codename = permission.partition(".")
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label=app, codename=codename)
        )
    client.force_login(user)
    return user


def action_page(model: str, name: str) -> str:
    return reverse(f"admin:{model}_action", kwargs={"name": name})


def confirmation(client: Client, model: str, name: str, *keys: int) -> tuple[dict[str, str], str]:
    """Return the hidden fields of an action's confirmation, and the page's text."""
    answer = client.get(action_page(model, name), {"keys": ",".join(map(str, keys))})
    assert answer.status_code == 200, answer.status_code
    text = answer.content.decode()
    return dict(_HIDDEN.findall(text)), text


def send(client: Client, model: str, name: str, form: dict[str, Any]) -> Said:
    """Send a confirmed action and return what is said after it."""
    answer = client.post(action_page(model, name), form, follow=True)
    assert answer.status_code == 200, answer.status_code
    found = [(str(m), m.level_tag) for m in answer.context["messages"]]
    return Said(
        [text for text, tag in found if tag == "success"],
        [text for text, tag in found if tag in ("warning", "error")],
    )


def give(client: Client, model: str, name: str, *keys: int, reason: str = REASON) -> Said:
    """Open the confirmation and send it."""
    form, _ = confirmation(client, model, name, *keys)
    return send(client, model, name, {**form, "reason": reason})


def audit(model: str) -> list[tuple[str, str]]:
    """Return the audit entries of a table (`tokens_token`): object and text, oldest first."""
    app, _, name = model.partition("_")
    entries = LogEntry.objects.filter(content_type__app_label=app, content_type__model=name)
    return [(str(entry.object_id), entry.change_message) for entry in entries.order_by("pk")]
