"""The admin's pages of the system itself: state, workers, task queue, users."""

from collections.abc import Sequence
from typing import Any

import django.contrib.auth.admin
import django_otp.plugins.otp_static.admin
import django_otp.plugins.otp_totp.admin  # noqa: F401 - the same
import django_q.admin  # noqa: F401 - registers pages, which are replaced below
import knox.admin  # noqa: F401 - the same
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path
from django.utils import timezone
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_q.models import Failure, OrmQ, Schedule, Success
from knox.models import AuthToken
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from glisk.admin.actions import ActionsAdmin, AdminAction, Outcome
from glisk.admin.formatting import age, duration, json_block, moment, text_block
from glisk.admin.tables import Audited, ExactSearch, MachineAdmin, MachineInline, column
from glisk.console.control_page import control_page
from glisk.console.controls import URL_NAME as CONTROLS
from glisk.console.overview.causes import PAGE
from glisk.console.overview.troubles import troubles_of, waiting_states
from glisk.engine.heartbeat import ALIVE_SECONDS
from glisk.management.base import counted
from glisk.models import Alert, AlertDelivery, SystemState, WorkerHeartbeat
from glisk.security.lockout import lockout_end, unlock_login
from tokens.admin.summary import STATES_WAIT, WAITS

for _model in (
    *(Schedule, Success, Failure, OrmQ, User, Group, AuthToken),
    *(TOTPDevice, StaticDevice),  # they would show secrets
):
    admin.site.unregister(_model)


WAITS.append(troubles_of)
STATES_WAIT.append(waiting_states)
# What headings call them: "Knox" and "Auth tokens" say nothing to an operator.
apps.get_app_config("knox").verbose_name = "Access"
AuthToken._meta.verbose_name, AuthToken._meta.verbose_name_plural = "API token", "API tokens"


def _role(user: User) -> str:
    roles = ["superuser"] if user.is_superuser else [group.name for group in user.groups.all()]
    return ", ".join(roles) or ("none" if user.is_staff else "none, and no access to the admin")


@admin.register(User)
class UserAdmin(Audited, ActionsAdmin, django.contrib.auth.admin.UserAdmin, ModelAdmin):
    """Logins. Whoever is no superuser can neither make one nor become one."""

    change_form_before_template = "admin/action_buttons.html"
    fieldsets = (
        *(django.contrib.auth.admin.UserAdmin.fieldsets or ()),
        ("Signing in", {"fields": ("second_factor", "lockout")}),
    )
    list_display = ("username", "role", "is_active", "second_factor")
    search_help_text = "Name or e-mail address"
    role = column("Role", _role)
    second_factor = column("Second factor", lambda user: "On" if user.has_factor else "Not set up")
    lockout = column("Login locked until", lambda user: lockout_end(user.get_username()) or "–")

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm

    def all_actions(self) -> Sequence[AdminAction]:
        return (UNLOCK_LOGIN,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        factors = TOTPDevice.objects.filter(user=OuterRef("pk"), confirmed=True)
        found: QuerySet[User] = super().get_queryset(request)
        return found.annotate(has_factor=Exists(factors)).prefetch_related("groups")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        fields = (*super().get_readonly_fields(request, obj), "second_factor", "lockout")
        beyond_roles = () if request.user.is_superuser else ("is_superuser", "user_permissions")
        return (*fields, *beyond_roles)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may_touch(request, obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may_touch(request, obj) and super().has_delete_permission(request, obj)


def _unlock(keys: Sequence[Any], actor: str, reason: str) -> list[Outcome]:
    users = User.objects.filter(pk__in=keys)
    forgotten = {user.pk: unlock_login(user) for user in users}
    return [
        Outcome(key, True, f"{counted(number, 'wrong password')} forgotten.")
        for key, number in forgotten.items()
    ]


UNLOCK_LOGIN = AdminAction(
    name="unlock_login",
    label="Unlock login",
    permission="auth.change_user",
    explanation="Forgets wrong passwords and codes, so that they may try again now.",
    run=_unlock,
    icon="lock_open",
)


def _may_touch(request: HttpRequest, user: Any) -> bool:
    return request.user.is_superuser or not (isinstance(user, User) and user.is_superuser)


@admin.register(Group)
class GroupAdmin(Audited, django.contrib.auth.admin.GroupAdmin, ModelAdmin):
    pass


@admin.register(SystemState)
class SystemStateAdmin(ExactSearch, MachineAdmin):
    list_display = ("state_key", "value", "changed")
    ordering = ("state_key",)
    search_texts = ("state_key",)
    search_help_text = "Key"
    when_empty = "Pauses, breakers and marks stand here once the workers have run."
    fields = ("state_key", "value", "updated_at")

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(control_page)
        return [path("controls/", page, name=CONTROLS), *super().get_urls()]

    value = column("Value", lambda state: json_block(state.state_value))
    changed = column("Changed", lambda state: age(state.updated_at))


@admin.register(WorkerHeartbeat)
class WorkerHeartbeatAdmin(MachineAdmin):
    list_display = ("owner", "stage", "alive", "beat", "in_flight", "running_for", "progress")
    list_filter = ("stage",)
    ordering = ("-beat_at",)
    when_empty = "Each worker stands here from its first heartbeat."

    beat = column("Last heartbeat", lambda worker: age(worker.beat_at), ordering="beat_at")
    running_for = column(
        "Running for",
        lambda worker: duration((worker.beat_at - worker.started_at).total_seconds()),
    )
    progress = column("Last progress", lambda worker: age(worker.last_progress_at))

    @display(description="State", label={"alive": "success", "silent": "danger"})
    def alive(self, worker: WorkerHeartbeat) -> str:
        silent_for = (timezone.now() - worker.beat_at).total_seconds()
        return "alive" if silent_for < ALIVE_SECONDS else "silent"


class AlertDeliveryInline(MachineInline):
    model = AlertDelivery
    verbose_name_plural = "Messages"
    ordering = ("pk",)
    fields = ("event", "label", "state", "written", "done", "attempts", "error")
    readonly_fields = ("written", "done")

    written = column("Written", lambda delivery: age(delivery.created_at))
    done = column("Done", lambda delivery: age(delivery.done_at))


@admin.register(Alert)
class AlertAdmin(MachineAdmin):
    """What people were told, or are about to be told."""

    when_empty = "Each problem that was told, or is about to be, stands here."
    list_display = ("headline", "shown_level", "began", "lasted", "delivered")
    list_filter = ("level", "kind")
    ordering = ("-pk",)
    fields = (
        "headline", "shown_level", "reason", "advice", "tokens", "began_at", "last_told",
        "over_since", "kind", "name",
    )  # fmt: skip
    inlines = (AlertDeliveryInline,)

    shown_level = column(
        "Level",
        lambda alert: "act now" if alert.level == PAGE else "can wait",
        label={"act now": "danger", "can wait": "warning"},
    )
    last_told = column("Last told", lambda a: moment(a.told_at) if a.told_at else "not yet")
    over_since = column("Over since", lambda a: moment(a.gone_at) if a.gone_at else "it goes on")
    began = column("Began, ago", lambda alert: age(alert.began_at))
    delivered = column("Messages delivered", lambda alert: f"{alert.sent} of {alert.messages}")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        sent = Count("deliveries", filter=Q(deliveries__state=AlertDelivery.State.SENT))
        found: QuerySet[Alert] = super().get_queryset(request)
        return found.annotate(sent=sent, messages=Count("deliveries"))

    @display(description="Lasted")
    def lasted(self, alert: Alert) -> str:
        if alert.gone_at is None:
            return "goes on"
        return duration((alert.gone_at - alert.began_at).total_seconds())


@admin.register(Schedule)
class ScheduleAdmin(MachineAdmin):
    """Schedules are declared in code: one bad row would stop all of them."""

    list_display = ("name", "func", "schedule_type", "minutes", "next_run")
    ordering = ("name",)
    when_empty = "The schedules stand here once a worker has started."
    fields = ("name", "func", "args", "kwargs", "schedule_type", "minutes", "cron", "next_run")


@admin.register(Failure)
class FailureAdmin(ExactSearch, MachineAdmin):
    list_display = ("name", "func", "started", "took")
    ordering = ("-stopped",)
    search_texts = ("id", "name", "func")
    search_help_text = "Task id, name or function"
    when_empty = "Each task that ended with an error stands here."
    fields = ("name", "func", "started", "stopped", "took", "attempt_count", "why")

    took = column("Took", lambda task: duration(task.time_taken()))
    why = column("Result", lambda task: text_block(str(task.result)))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Failure]:
        # Arguments are pickled; one that cannot be read must not hide all the others.
        found: QuerySet[Failure] = super().get_queryset(request)
        return found.defer("args", "kwargs", "result")


@admin.register(AuthToken)
class AuthTokenAdmin(MachineAdmin):
    """Tokens of the operations API: made by `manage.py create_api_token`, revoked here."""

    list_display = ("token", "user", "made", "expiry")
    list_display_links = ("token",)
    list_select_related = ("user",)
    ordering = ("-created",)
    when_empty = "Each token that manage.py create_api_token made stands here."
    fields = ("token", "user", "created", "expiry")

    # How it begins: enough to know it again, useless to anybody else.
    token = column("Token", lambda token: f"{token.token_key}…")
    made = column("Made", lambda token: age(token.created), ordering="created")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("knox.delete_authtoken")
