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


@pytest.mark.parametrize(
    "begin",
    [
        "/admin",
        "/admin/",
        "/admin/login/",
        "/admin/login/?next=",
        "/admin/login/?next=https://elsewhere.example/",
    ],
)
def test_a_login_ends_at_the_dashboard(begin: str, client: Client, form: dict[str, str]) -> None:
    page = client.get(begin, follow=True)
    address = page.redirect_chain[-1][0] if page.redirect_chain else begin
    arrived = client.post(address, form, follow=True)
    assert arrived.status_code == 200
    assert arrived.request["PATH_INFO"] == "/admin/"


def test_a_login_goes_on_to_the_page_that_was_asked_for(
    client: Client, form: dict[str, str]
) -> None:
    login = client.get("/admin/tokens/token/", follow=True).redirect_chain[-1][0]
    arrived = client.post(login, form, follow=True)
    assert arrived.request["PATH_INFO"] == "/admin/tokens/token/"


@pytest.mark.parametrize("begin", ["/admin", "/admin/login/"])
def test_one_who_is_logged_in_gets_the_dashboard(begin: str, admin_client: Client) -> None:
    assert admin_client.get(begin, follow=True).request["PATH_INFO"] == "/admin/"
