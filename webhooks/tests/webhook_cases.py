"""The security cases that every webhook must pass; each webhook's test inherits them.

Cases that need no database carry no mark for it: pytest-django fails them if the view touches
the database before it has seen a valid signature.
"""

import socket
import threading
from abc import ABC, abstractmethod
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings


class SignedWebhookCases(ABC):
    url: str
    signature_header: str

    @abstractmethod
    def signed_headers(self, body: bytes, *, key: str | None = None) -> dict[str, str]:
        """Return the headers that the vendor sends with a body."""

    @abstractmethod
    def body(self) -> bytes:
        """Return a body that the view takes in."""

    def send(self, body: bytes, headers: dict[str, str], **extra: Any) -> Any:
        client = Client()
        extra.setdefault("content_type", "application/json")
        response = client.post(self.url, data=body, headers=headers, **extra)
        assert response["Content-Type"] == "application/json"
        return response

    def send_signed(self, body: bytes, **extra: Any) -> Any:
        return self.send(body, self.signed_headers(body), **extra)

    def test_an_unsigned_body_is_refused(self) -> None:
        assert self.send(self.body(), {}).status_code == 401

    def test_an_empty_signature_is_refused(self) -> None:
        headers = self.signed_headers(self.body()) | {self.signature_header: ""}
        assert self.send(self.body(), headers).status_code == 401

    def test_a_forged_signature_is_refused(self) -> None:
        for forged in ("0", "0" * 64, "v1,", "v1,AAAA", "v1,é", "ÿþ", "é" * 64, "x" * 10_000):
            headers = self.signed_headers(self.body()) | {self.signature_header: forged}
            assert self.send(self.body(), headers).status_code == 401

    def test_the_signature_of_another_body_is_refused(self) -> None:
        headers = self.signed_headers(self.body() + b" ")
        assert self.send(self.body(), headers).status_code == 401

    def test_a_refusal_says_nothing_of_the_right_signature(self) -> None:
        right = self.signed_headers(self.body())
        response = self.send(self.body(), right | {self.signature_header: "0" * 64})
        assert right[self.signature_header] not in response.content.decode()

    def test_only_posts_are_taken(self) -> None:
        assert Client().get(self.url).status_code in (401, 405)

    def test_a_body_announced_as_too_large_is_not_read(self, settings: Settings) -> None:
        settings.WEBHOOK_MAX_BYTES = 10_000
        body = b"x" * 10_001
        assert self.send(body, self.signed_headers(body)).status_code == 413

    def test_a_body_of_the_largest_size_is_read(self, settings: Settings) -> None:
        settings.WEBHOOK_MAX_BYTES = 10_000
        body = b"x" * 10_000
        assert self.send(body, self.signed_headers(body)).status_code == 400

    def test_a_length_that_is_not_the_bodys_is_refused(self) -> None:
        for announced in ("", "-1", "many", "5"):
            headers = self.signed_headers(self.body())
            response = self.send(self.body(), headers, CONTENT_LENGTH=announced)
            assert response.status_code in (400, 401)

    def test_a_signed_body_that_is_no_event_is_a_bad_request(self) -> None:
        for body in (
            b"",
            b"{",
            b'{"id":"whevt_1","ev',
            b"\xff\xfe",
            b"\x00",
            b'{"id": NaN}',
            b'{"id": 1e5, "x": Infinity}',
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'{"id": ' + b"9" * 10_000 + b"}",
            b"null",
            b"[]",
            b'"text"',
            b"5",
            b"{}",
            b'{"id": null}',
            b'{"id": 5}',
            b'{"id": ""}',
            b'{"id": ["x"]}',
            b'{"id": "a\\u0000b", "status": "succeeded"}',
            b'{"id": "\\ud800", "status": "succeeded"}',
            b'{"id": "' + b"x" * 101 + b'", "status": "succeeded"}',
        ):
            assert self.send_signed(body).status_code == 400

    @pytest.mark.django_db
    def test_a_signed_body_is_taken_in(self) -> None:
        assert self.send_signed(self.body()).status_code == 200

    @pytest.mark.django_db
    @pytest.mark.parametrize("accept", ["text/html", "image/png", "garbage", ""])
    def test_whatever_the_sender_accepts_it_gets_json(self, accept: str) -> None:
        headers = self.signed_headers(self.body()) | {"Accept": accept}
        assert self.send(self.body(), headers).status_code == 200

    @pytest.mark.django_db
    @pytest.mark.parametrize(
        "content_type", ["text/plain", "application/xml", "multipart/form-data"]
    )
    def test_whatever_the_content_type_the_signed_bytes_count(self, content_type: str) -> None:
        assert self.send_signed(self.body(), content_type=content_type).status_code == 200

    @pytest.mark.django_db
    def test_without_a_database_the_sender_is_asked_to_come_again(self) -> None:
        answers: list[int] = []

        def send_without_database() -> None:
            # A thread has a connection object of its own; this one leads nowhere.
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                connection.settings_dict = {
                    **connection.settings_dict,
                    "HOST": "127.0.0.1",
                    "PORT": unused.getsockname()[1],
                }
                answers.append(self.send_signed(self.body()).status_code)

        thread = threading.Thread(target=send_without_database)
        thread.start()
        thread.join(timeout=30)
        assert answers == [503]
