"""The admin's pages of the inbox."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from glisk.admin.actions import ActionsAdmin, AdminAction, Outcome
from glisk.admin.formatting import NOTHING, age, copyable, json_block, text_block
from glisk.admin.tables import ExactSearch, MachineAdmin, column, folded, shows_list
from glisk.management.base import counted
from glisk.permissions import REPLAY_EVENT
from webhooks.inbox import EventNotProcessedError, replay_event
from webhooks.models import EventStatus, WebhookEvent

EVENT_LABELS = {
    EventStatus.RECEIVED: "info",
    EventStatus.PROCESSED: "success",
    EventStatus.IGNORED: "default",
    EventStatus.FAILED: "danger",
}


def _words(name: str) -> str:
    return name.replace("_", " ")


def _line(verdict: dict[str, Any]) -> str:
    """Return what became of one log, as in `registered: log 0, tokens 5 to 9`."""
    facts = []
    for name, fact in verdict.items():
        if name == "tokens" and len(fact) == 2:
            first, last = fact
            facts.append(f"token {first}" if first == last else f"tokens {first} to {last}")
        elif name != "verdict":
            words = ", ".join(map(str, fact)) if isinstance(fact, list) else fact
            facts.append(f"{_words(name)} {words}")
    return ": ".join(filter(None, (_words(verdict["verdict"]), ", ".join(facts))))


def _replay(keys: Sequence[Any], actor: str, reason: str) -> Sequence[Outcome]:
    outcomes = []
    for key in keys:
        try:
            said = f"Processed again: {counted(replay_event(key), 'token')} created."
            outcomes.append(Outcome(key, True, said))
        except EventNotProcessedError as error:
            outcomes.append(Outcome(key, False, str(error)))
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
    list_display = ("event_id", "state", "result", "deliveries", "took", "seen")
    list_filter = ("status",)
    ordering = ("-received_at",)
    sortable_by = ("seen",)
    search_texts = ("event_id",)
    search_help_text = "Event id"
    when_empty = "Each signed event that Alchemy sends stands here."
    change_form_before_template = "admin/action_buttons.html"
    fieldsets = (
        (None, {"fields": ("event", "state", "failure", "webhook_id", "event_type")}),
        (
            "Deliveries",
            {"fields": ("deliveries", "received_at", "last_delivery_at", "processed_at", "took")},
        ),
        ("Result per mint", {"fields": ("results",)}),
        folded("Body as signed", "size", "body_json"),
    )

    event = column("Event id", lambda event: copyable(event.event_id))
    state = column("State", lambda event: event.status, label=EVENT_LABELS)
    took = column("Took", lambda event: NOTHING if event.took_ms is None else f"{event.took_ms} ms")
    seen = column("Age", lambda event: age(event.received_at), ordering="received_at")
    failure = column("Error", lambda event: text_block(event.error))
    results = column("Results", lambda event: text_block("\n".join(map(_line, event.verdicts))))
    size = column("Size", lambda event: f"{len(event.body):,} bytes")
    body_json = column("Body", lambda event: json_block(event.body))

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEvent]:
        found: QuerySet[WebhookEvent] = super().get_queryset(request)
        return found.defer("body", "error") if shows_list(request) else found

    def all_actions(self) -> Sequence[AdminAction]:
        return (REPLAY,)

    @display(description="Result per mint")
    def result(self, event: WebhookEvent) -> str:
        counted = Counter(verdict["verdict"] for verdict in event.verdicts)
        return ", ".join(f"{number} {_words(name)}" for name, number in counted.most_common())
