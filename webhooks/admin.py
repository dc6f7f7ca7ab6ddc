"""The admin's pages of the inbox."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from glisk.admin.actions import ActionsAdmin, AdminAction, Outcome
from glisk.admin.formatting import NOTHING, age, json_block, text_block
from glisk.admin.tables import ExactSearch, MachineAdmin, shows_list
from glisk.permissions import REPLAY_EVENT
from webhooks.inbox import replay_event
from webhooks.models import EventStatus, WebhookEvent

EVENT_LABELS = {
    EventStatus.RECEIVED: "info",
    EventStatus.PROCESSED: "success",
    EventStatus.IGNORED: "default",
    EventStatus.FAILED: "danger",
}


def _replay(keys: Sequence[Any], actor: str, reason: str) -> Sequence[Outcome]:
    known = set(WebhookEvent.objects.filter(pk__in=keys).values_list("pk", flat=True))
    outcomes = []
    for key in keys:
        if key not in known:
            outcomes.append(Outcome(key, False, "There is no such event."))
            continue
        result = replay_event(key)
        done = f"Processed again: {result.tokens} tokens created."
        outcomes.append(Outcome(key, not result.failed, result.reason if result.failed else done))
    return outcomes


REPLAY = AdminAction(
    name="replay",
    label="Replay",
    permission=REPLAY_EVENT,
    explanation="Processes stored events again, as if they were delivered now. A mint that is "
    "known stays as it is.",
    run=_replay,
    icon="replay",
)


@admin.register(WebhookEvent)
class WebhookEventAdmin(ActionsAdmin, ExactSearch, MachineAdmin):
    list_display = ("event_id", "state", "event_type", "verdict", "deliveries", "took", "seen")
    list_filter = ("status",)
    ordering = ("-received_at",)
    sortable_by = ("seen",)
    search_texts = ("event_id",)
    search_help_text = "Event id"
    change_form_before_template = "admin/action_buttons.html"
    fieldsets = (
        (None, {"fields": ("event_id", "webhook_id", "event_type", "state", "failure")}),
        (
            "Deliveries",
            {
                "fields": (
                    "deliveries",
                    "received_at",
                    "last_delivery_at",
                    "processed_at",
                    "took",
                )
            },
        ),
        ("Verdicts", {"fields": ("verdict_list",)}),
        ("Body as signed", {"fields": ("size", "body_json")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEvent]:
        found: QuerySet[WebhookEvent] = super().get_queryset(request)
        return found.defer("body", "error") if shows_list(request) else found

    def all_actions(self) -> Sequence[AdminAction]:
        return (REPLAY,)

    def action_line(self, subject: WebhookEvent) -> str:
        return f"{subject.event_id}: it is {subject.status}, {subject.deliveries} deliveries."

    @display(description="State", label=EVENT_LABELS)
    def state(self, event: WebhookEvent) -> str:
        return event.status

    @display(description="Verdicts")
    def verdict(self, event: WebhookEvent) -> str:
        counted = Counter(_verdict_name(verdict) for verdict in event.verdicts)
        return ", ".join(f"{number} {name}" for name, number in counted.most_common()) or NOTHING

    @display(description="Took")
    def took(self, event: WebhookEvent) -> str:
        return NOTHING if event.took_ms is None else f"{event.took_ms} ms"

    @display(description="Age", ordering="received_at")
    def seen(self, event: WebhookEvent) -> SafeString | str:
        return age(event.received_at)

    @display(description="Error")
    def failure(self, event: WebhookEvent) -> SafeString | str:
        return text_block(event.error)

    @display(description="Verdict per log")
    def verdict_list(self, event: WebhookEvent) -> SafeString | str:
        return json_block(event.verdicts or None)

    @display(description="Size")
    def size(self, event: WebhookEvent) -> str:
        return f"{len(event.body):,} bytes"

    @display(description="Body")
    def body_json(self, event: WebhookEvent) -> SafeString | str:
        return json_block(event.body)


def _verdict_name(verdict: Any) -> str:
    if isinstance(verdict, dict):
        return str(verdict.get("verdict") or verdict.get("outcome") or "log")
    return str(verdict)
