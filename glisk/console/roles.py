"""The three roles: who looks, who repairs, who also hands out logins."""

from typing import Final

from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.db.models import Q

from glisk.permissions import ACTIONS

VIEWER: Final = "viewer"
OPERATOR: Final = "operator"
ADMIN: Final = "admin"

_OURS: Final = ("authors", "tokens", "reveals", "webhooks", "glisk")
_QUEUE: Final = ("view_schedule", "view_failure")
_AUTHORS: Final = ("add_author", "change_author")
_LOGINS: Final = ("user", "group")
_API_TOKENS: Final = ("view_authtoken", "delete_authtoken")


def _wanted() -> dict[str, Q]:
    """Return which permissions each role holds; each holds those of the one before."""
    looks = Q(content_type__app_label__in=_OURS, codename__startswith="view_")
    looks |= Q(content_type__app_label="django_q", codename__in=_QUEUE)
    repairs = looks | Q(content_type__app_label="authors", codename__in=_AUTHORS)
    for name in ACTIONS:
        app, _, codename = name.partition(".")
        repairs |= Q(content_type__app_label=app, codename=codename)
    logins = Q(content_type__app_label="auth", content_type__model__in=_LOGINS)
    logins |= Q(content_type__app_label="knox", codename__in=_API_TOKENS)
    return {VIEWER: looks, OPERATOR: repairs, ADMIN: repairs | logins}


@transaction.atomic
def make_roles() -> list[tuple[str, int, str]]:
    """Create the groups or give them exactly what they should hold; harmless when repeated.

    Returns the name of each, how many permissions it has, and "created", "updated" or "unchanged".
    """
    roles = []
    for name, wanted in _wanted().items():
        group, created = Group.objects.get_or_create(name=name)
        permissions = set(Permission.objects.filter(wanted).values_list("pk", flat=True))
        before = set(group.permissions.values_list("pk", flat=True))
        group.permissions.set(permissions)
        changed = "unchanged" if before == permissions else "updated"
        roles.append((name, len(permissions), "created" if created else changed))
    return roles


@transaction.atomic
def give_role(username: str, role: str) -> User:
    """Put a user into a role, out of the other ones, and let them into the admin.

    Raises:
        User.DoesNotExist: there is no such user.
        Group.DoesNotExist: the roles were not made yet.
    """
    user = User.objects.select_for_update().get(username=username)
    group = Group.objects.get(name=role)
    user.groups.remove(*Group.objects.filter(name__in=_wanted()).exclude(pk=group.pk))
    user.groups.add(group)
    if not user.is_staff:
        user.is_staff = True
        user.save(update_fields=["is_staff"])
    return user
