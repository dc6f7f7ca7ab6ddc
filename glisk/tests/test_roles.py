"""Three roles: the viewer changes nothing anywhere, the operator repairs, the admin adds logins."""

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import URLPattern, reverse

from glisk.console.roles import ADMIN, OPERATOR, VIEWER, give_role, make_roles
from glisk.permissions import ACTIONS
from glisk.tests.pipeline_world import build_world
from tokens.models import Token

pytestmark = [pytest.mark.django_db, pytest.mark.pages]

READS = ("_changelist", "_change", "_history", "_picture", "_thumbnail", "_controls")


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("create_roles", *arguments, stdout=out)
    return out.getvalue()


def log_in(client: Client, role: str) -> User:
    make_roles()
    user = User.objects.create_user(f"some {role}")
    give_role(user.username, role)
    client.force_login(user)
    return user


def pages() -> Iterator[tuple[str, str]]:
    """Yield name and address of every page of every table, the actions' own pages included."""
    for model, model_admin in admin.site._registry.items():
        row = model._default_manager.first()
        for pattern in model_admin.get_urls():
            assert isinstance(pattern, URLPattern)
            if pattern.name is None:
                continue  # the redirect of old addresses
            given: dict[str, Any] = {}
            for name in pattern.pattern.converters:
                given[name] = row.pk if row else 1
            yield pattern.name, reverse(f"admin:{pattern.name}", kwargs=given)


def test_the_command_may_be_repeated() -> None:
    assert run().count("created") == 3
    Group.objects.get(name=VIEWER).permissions.clear()
    again = run()
    assert (again.count("updated"), again.count("unchanged")) == (1, 2)
    assert run().count("unchanged") == 3


def test_each_role_holds_more_than_the_one_before() -> None:
    make_roles()
    viewer, operator, boss = (
        {
            f"{p.content_type.app_label}.{p.codename}"
            for p in Group.objects.get(name=name).permissions.all()
        }
        for name in (VIEWER, OPERATOR, ADMIN)
    )
    assert all(name.partition(".")[2].startswith("view_") for name in viewer)
    assert viewer < operator < boss
    assert operator - viewer == {*ACTIONS, "authors.add_author", "authors.change_author"}
    assert {"auth.add_user", "auth.change_group"} <= boss
    assert not any(name.startswith("auth.") for name in operator)


def test_a_user_has_one_role_and_what_does_not_exist_is_named() -> None:
    User.objects.create_user("maria")
    run("--give", "maria", "operator")
    assert "maria is viewer now" in run("--give", "maria", "viewer")
    maria = User.objects.get()
    assert maria.is_staff
    assert [group.name for group in maria.groups.all()] == [VIEWER]
    User.objects.create_superuser("root")
    stderr = StringIO()
    call_command("create_roles", "--give", "root", "viewer", stdout=StringIO(), stderr=stderr)
    assert "root is a superuser" in stderr.getvalue()
    for role, fault in (("viewer", "no user"), ("king", "no role")):
        with pytest.raises(CommandError, match=fault):
            run("--give", "nobody", role)


def test_the_viewer_is_refused_every_write(client: Client) -> None:
    build_world(1)
    log_in(client, VIEWER)
    visited = [*pages()]
    assert len(visited) > 60
    for name, address in visited:
        if name.endswith("_history"):
            continue  # Django shows it on POST, too; it writes nothing
        answer = client.post(address, {"post": "yes", "action": "delete_selected"})
        assert answer.status_code in (403, 405), (name, answer.status_code)
        if not name.endswith(READS):
            refused = client.get(address)
            assert refused.status_code in (403, 405), name
            assert "Your role does not allow this" in refused.content.decode() or (
                refused.status_code == 405
            )


def test_the_viewer_sees_what_the_machine_wrote(client: Client) -> None:
    build_world(1)
    log_in(client, VIEWER)
    for app, model in (("tokens", "token"), ("reveals", "revealbatch"), ("authors", "author")):
        assert client.get(reverse(f"admin:{app}_{model}_changelist")).status_code == 200
    token = Token.objects.get()
    assert client.get(reverse("admin:tokens_token_change", args=[token.pk])).status_code == 200
    assert client.get(reverse("admin:auth_user_changelist")).status_code == 403
    log_in(client, OPERATOR)
    assert client.get(reverse("admin:authors_author_add")).status_code == 200
    assert client.get(reverse("admin:auth_user_add")).status_code == 403


def test_an_admin_makes_logins_but_no_superuser(client: Client) -> None:
    log_in(client, ADMIN)
    root = User.objects.create_superuser("root", password="long enough secret")
    other = User.objects.create_user("other")
    page = reverse("admin:auth_user_change", args=[other.pk])
    form = {
        "username": "other",
        "is_active": "on",
        "is_staff": "on",
        "is_superuser": "on",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
    }
    assert client.post(page, form).status_code == 302
    other.refresh_from_db()
    assert (other.is_staff, other.is_superuser) == (True, False)
    for name in ("change", "delete"):
        address = reverse(f"admin:auth_user_{name}", args=[root.pk])
        assert client.post(address, form | {"post": "yes"}).status_code == 403
    password = reverse("admin:auth_user_password_change", args=[root.pk])
    assert client.post(password, {}).status_code == 403
