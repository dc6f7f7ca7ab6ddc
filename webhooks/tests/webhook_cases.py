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

    def test_what_is_not_signed_is_refused_without_a_hint(self) -> None:
        right = self.signed_headers(self.body())
        forged = ("", "0", "0" * 64, "v1,", "v1,AAAA", "v1,é", "ÿþ", "é" * 64, "x" * 10_000)
        for headers in (
            {},
            *(right | {self.signature_header: signature} for signature in forged),
            right | {self.signature_header: right[self.signature_header].upper()},
            self.signed_headers(self.body() + b" "),
        ):
            answer = self.send(self.body(), headers)
            assert answer.status_code == 401, headers
            assert right[self.signature_header] not in answer.content.decode()
        assert Client().get(self.url).status_code in (401, 405)

    def test_a_body_is_read_up_to_the_largest_size(self, settings: Settings) -> None:
        settings.WEBHOOK_MAX_BYTES = 10_000
        for size, status in ((10_000, 400), (10_001, 413)):
            assert self.send_signed(b"x" * size).status_code == status

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
    def test_signed_bytes_are_taken_in_whatever_else_is_said_of_them(self) -> None:
        signed = self.signed_headers(self.body())
        for accept in ("text/html", "image/png", "garbage", ""):
            assert self.send(self.body(), signed | {"Accept": accept}).status_code == 200
        for content_type in ("text/plain", "application/xml", "multipart/form-data"):
            answer = self.send(self.body(), signed, content_type=content_type)
            assert answer.status_code == 200

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
