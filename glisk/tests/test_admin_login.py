"""The way into the admin, from every address at which people begin."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db
_PASSWORD = "long enough, and known to this test"


@pytest.fixture
def form(admin_user: User) -> dict[str, str]:
    admin_user.set_password(_PASSWORD)
    admin_user.save()
    return {"username": admin_user.get_username(), "password": _PASSWORD}


def test_a_login_ends_at_the_dashboard_or_the_page_that_was_asked_for(
    client: Client, form: dict[str, str]
) -> None:
    for begin, end in {
        "/admin": "/admin/",
        "/admin/": "/admin/",
        "/admin/login/": "/admin/",
        "/admin/login/?next=": "/admin/",
        "/admin/login/?next=https://elsewhere.example/": "/admin/",
        "/admin/tokens/token/": "/admin/tokens/token/",
    }.items():
        client.logout()
        page = client.get(begin, follow=True)
        address = page.redirect_chain[-1][0] if page.redirect_chain else begin
        arrived = client.post(address, form, follow=True)
        assert arrived.status_code == 200
        assert arrived.request["PATH_INFO"] == end


def test_one_who_is_logged_in_gets_the_dashboard(admin_client: Client) -> None:
    for begin in ("/admin", "/admin/login/"):
        assert admin_client.get(begin, follow=True).request["PATH_INFO"] == "/admin/"
