"""What operators may have done in the admin: by whom, what it would do, what it did.

An app declares its actions. They are offered below a list and as buttons on an object's page, are
confirmed, done once however often a button is pressed, and kept in the log with who did them.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final, Literal

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from unfold.admin import ModelAdmin

from glisk.admin.audit import actor_of
from glisk.api.throttling import seconds_to_wait
from glisk.errors import ProviderError

MOST_AT_ONCE: Final = 500
_LONGEST_REASON = 1000
_GIVEN_ONCE_FOR = timedelta(hours=12)
_MOST_MESSAGES = 8
_MOST_SHOWN = 50


@dataclass(frozen=True)
class Outcome:
    """What was done, or would be, with one object (by its key), or why it is left out."""

    key: Any
    done: bool
    message: str


@dataclass(frozen=True)
class Forecast:
    """What an action would do; `cost` is a sentence, empty if nothing is spent."""

    outcomes: Sequence[Outcome]
    cost: str = ""


@dataclass(frozen=True)
class AdminAction:
    """One thing that an operator may have done with some objects.

    `run(keys, actor, reason)` does it and answers for every key; it may raise `ProviderError`, or
    `ValueError` with a sentence for the operator. `fits` tells for which objects the button is
    offered on their page; `run` decides for itself all the same. `logged`: it leaves an entry in
    the admin's log; not where the objects' own timeline says the same.
    """

    name: str
    label: str
    permission: str
    explanation: str
    run: Callable[[Sequence[Any], str, str], Sequence[Outcome]]
    forecast: Callable[[Sequence[Any]], Forecast] | None = None
    reason: Literal["required", "optional", "none"] = "optional"
    icon: str = "bolt"
    dangerous: bool = False
    logged: bool = True
    fits: Callable[[Any], bool] = lambda subject: True


def ranged(keys: Sequence[Any], *, shown: int = 12) -> str:
    """Return keys for a sentence: `#1, #2, … and 30 more`."""
    text = ", ".join(f"#{key}" for key in keys[:shown])
    return text if len(keys) <= shown else f"{text} and {len(keys) - shown} more"


class ActionsAdmin(ModelAdmin):
    """A table with actions; the class before `MachineAdmin` in a list of bases."""

    def all_actions(self) -> Sequence[AdminAction]:
        """Return every action of this table, whoever asks."""
        return ()

    def permitted_actions(self, request: HttpRequest) -> list[AdminAction]:
        return [action for action in self.all_actions() if request.user.has_perm(action.permission)]

    def get_urls(self) -> list[URLPattern]:
        see = self.admin_site.admin_view(self.action_view)
        return [path("action/<str:name>/", see, name=self._action_url_name), *super().get_urls()]

    @property
    def _action_url_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_action"

    def _address(self, action: AdminAction) -> str:
        return reverse(f"admin:{self._action_url_name}", kwargs={"name": action.name})

    # -- where actions are offered -------------------------------------------------------

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Offer the permitted actions below the list; each leads to its confirmation."""
        return {
            action.name: (partial(_ask_for_chosen, action), action.name, action.label)
            for action in self.permitted_actions(request)
        }

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if (subject := context.get("original")) is not None:
            context["action_buttons"] = [
                {"action": action, "url": f"{self._address(action)}?keys={subject.pk}"}
                for action in self.permitted_actions(request)
                if action.fits(subject)
            ]
        page: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return page

    # -- asking, doing ------------------------------------------------------------------

    def action_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask for confirmation, or do what was confirmed; 403 for whoever may not."""
        action = next((o for o in self.permitted_actions(request) if o.name == name), None)
        if action is None or not self.has_view_permission(request):
            raise PermissionDenied
        given = request.POST if request.method == "POST" else request.GET
        keys = self._read_keys(given.get("keys", ""))
        back = self._way_back(request, given.get("next", ""), keys)
        if not keys:
            messages.error(request, "Nothing was chosen.")
            return HttpResponseRedirect(back)
        if request.method != "POST":
            return self.ask(request, action, keys, back=back)
        reason = " ".join(given.get("reason", "").split())[:_LONGEST_REASON]
        if action.reason == "required" and not reason:
            messages.error(request, "Say why: the reason is kept.")
            return self.ask(request, action, keys, back=back)
        if is_first(request, given.get("once", "")):
            self._give(request, action, keys, reason)
        else:
            messages.warning(request, f"{action.label} was asked for already, and done once.")
        return HttpResponseRedirect(back)

    def ask(
        self, request: HttpRequest, action: AdminAction, keys: Sequence[Any], *, back: str
    ) -> HttpResponse:
        """Show what the action would do."""
        problem, forecast = "", Forecast(())
        try:
            forecast = action.forecast(keys) if action.forecast else self._plain_forecast(keys)
        except (ProviderError, ValueError) as error:
            problem = str(error)
        nouns = self.opts.verbose_name if len(keys) == 1 else self.opts.verbose_name_plural
        subject = f"{nouns} #{keys[0]}" if len(keys) == 1 else f"{len(keys)} {nouns}"
        going = [outcome for outcome in forecast.outcomes if outcome.done]
        skipped = [outcome for outcome in forecast.outcomes if not outcome.done]
        context = {
            **self.admin_site.each_context(request),
            "title": f"{action.label}: {subject}",
            "action": action,
            "reason": action.reason,
            "address": self._address(action),
            "given": [
                ("keys", ",".join(str(key) for key in keys)),
                ("next", back),
                ("once", secrets.token_urlsafe(16)),
            ],
            "back": back,
            "problem": problem,
            "cost": forecast.cost,
            "can_be_done": bool(going),
            "parts": [
                (len(found), what, found[:_MOST_SHOWN])
                for what, found in (("done", going), ("skipped", skipped))
            ],
        }
        return TemplateResponse(request, "admin/action.html", context)

    def _plain_forecast(self, keys: Sequence[Any]) -> Forecast:
        found = self.model._default_manager.in_bulk(list(keys))
        return Forecast([Outcome(key, True, str(found[key])) for key in keys if key in found])

    def _give(
        self, request: HttpRequest, action: AdminAction, keys: Sequence[Any], reason: str
    ) -> None:
        """Do it, say what was done, and keep who did it."""
        try:
            outcomes = action.run(keys, actor_of(request.user), reason)
        except (ProviderError, ValueError) as error:
            messages.error(request, f"{action.label}: {error}")
            return
        assert request.user.pk is not None
        why = f" Reason: {reason}" if reason else ""
        LogEntry.objects.bulk_create(
            LogEntry(
                user_id=request.user.pk,
                content_type=ContentType.objects.get_for_model(self.model),
                object_id=str(outcome.key),
                object_repr=f"{self.opts.verbose_name} {outcome.key}"[:200],
                action_flag=CHANGE,
                change_message=f"{action.label}: {outcome.message}{why}",
            )
            for outcome in outcomes
            if outcome.done and action.logged
        )
        _tell(request, action, outcomes)

    # -- what came with the request -----------------------------------------------------

    def _read_keys(self, text: str) -> list[Any]:
        """Read `1,2,3` as keys of this table; raise PermissionDenied for anything else."""
        parts = [part for part in text.split(",") if part.strip()]
        if len(parts) > MOST_AT_ONCE:
            raise PermissionDenied
        try:
            keys = [self.opts.pk.clean(part.strip(), None) for part in parts]
        except ValidationError:
            raise PermissionDenied from None
        return list(dict.fromkeys(keys))

    def _way_back(self, request: HttpRequest, wanted: str, keys: Sequence[Any]) -> str:
        """Return the page that the action was chosen on: one's own, or the list."""
        if wanted and url_has_allowed_host_and_scheme(
            wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
        ):
            return wanted
        names = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        if len(keys) == 1:
            return reverse(f"{names}_change", args=[keys[0]])
        return reverse(f"{names}_changelist")


def _ask_for_chosen(
    action: AdminAction, admin: ActionsAdmin, request: HttpRequest, chosen: QuerySet[Model]
) -> HttpResponse:
    keys = list(chosen.values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
    if len(keys) > MOST_AT_ONCE:
        more = "More are chosen than are done at once: this takes the first"
        messages.warning(request, f"{more} {MOST_AT_ONCE}.")
    return admin.ask(request, action, keys[:MOST_AT_ONCE], back=request.get_full_path())


def is_first(request: HttpRequest, once: str) -> bool:
    """Tell whether a confirmation comes for the first time: a second click changes nothing."""
    if not once:
        raise PermissionDenied
    subject = f"{request.user.pk}:{once}"
    waits = seconds_to_wait(scope="action", subject=subject, limit=1, window=_GIVEN_ONCE_FOR)
    return waits is None


def _tell(request: HttpRequest, action: AdminAction, outcomes: Sequence[Outcome]) -> None:
    """Say what was done and what was skipped, and why; equal answers in one sentence."""
    grouped: dict[tuple[bool, str], list[Any]] = defaultdict(list)
    for outcome in outcomes:
        grouped[outcome.done, outcome.message].append(outcome.key)
    for (done, message), keys in list(grouped.items())[:_MOST_MESSAGES]:
        if done:
            messages.success(request, f"{action.label}, {ranged(keys)}: {message}")
        else:
            messages.warning(request, f"{action.label} skipped {ranged(keys)}: {message}")
    if len(grouped) > _MOST_MESSAGES:
        messages.info(request, f"… and {len(grouped) - _MOST_MESSAGES} other answers.")
