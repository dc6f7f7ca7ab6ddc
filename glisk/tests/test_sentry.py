"""What Sentry hears of an error: the line and the stack, and no secret in either."""

import gzip
import json
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import sentry_sdk
import structlog

from glisk.logging import logging_settings
from glisk.logging.redaction import MASK, register_secret
from glisk.logging.sentry import SentryHandler
from glisk.tests.environments import PRODUCTION, complaint

SECRET = "tell-this-to-nobody-at-all"


class Sentry(ThreadingHTTPServer):
    """A Sentry on loopback that keeps what it was sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Taker)

    @property
    def dsn(self) -> str:
        return f"http://key@127.0.0.1:{self.server_port}/1"

    def events(self) -> list[dict[str, Any]]:
        """Wait for what is under way, and return it all."""
        sentry_sdk.flush(timeout=10)
        return [json.loads(body.splitlines()[2]) for body in self.bodies]


class _Taker(BaseHTTPRequestHandler):
    server: Sentry

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        zipped = self.headers.get("Content-Encoding") == "gzip"
        self.server.bodies.append(gzip.decompress(body) if zipped else body)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    register_secret(SECRET)
    server = Sentry()
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    handler = SentryHandler(dsn=server.dsn, environment="BASE_SEPOLIA")
    handler.setLevel(logging.ERROR)
    logging.getLogger().addHandler(handler)
    yield server
    logging.getLogger().removeHandler(handler)
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)
    server.shutdown()
    server.server_close()


def ask_vendor(token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    raise ValueError(f"the vendor refused {headers}")


def test_an_error_of_ours_arrives_with_its_stack_and_without_secrets(sentry: Sentry) -> None:
    logger = structlog.get_logger("tokens.pipeline")
    try:
        ask_vendor(SECRET)
    except ValueError:
        logger.exception("order_failed", token_id=42, url=f"https://x:{SECRET}@vendor.example")
    logger.warning("order_late", token_id=43)
    (event,) = sentry.events()
    assert event["logentry"]["message"] == "order_failed"
    assert event["logger"] == "tokens.pipeline"
    assert event["extra"]["token_id"] == 42
    assert event["environment"] == "BASE_SEPOLIA"
    (error,) = event["exception"]["values"]
    assert error["type"] == "ValueError"
    frames = error["stacktrace"]["frames"]
    assert frames[-1]["function"] == "ask_vendor"
    assert not any("vars" in frame for frame in frames)
    assert MASK in error["value"]
    assert SECRET.encode() not in b"".join(sentry.bodies)


def test_nothing_of_a_request_leaves(sentry: Sentry, rf: Any) -> None:
    request = rf.post("/api/authors/prompt", {"prompt": "a private thought"})
    request.META["HTTP_COOKIE"] = "sessionid=of-an-operator"
    logging.getLogger("django.request").error(
        "Internal Server Error: %s", request.path, extra={"request": request, "status_code": 500}
    )
    (event,) = sentry.events()
    assert event["logentry"]["message"] == "Internal Server Error: /api/authors/prompt"
    assert not {"request", "user"} & event.keys()
    assert not event["breadcrumbs"]["values"]
    sent = b"".join(sentry.bodies)
    assert b"private" not in sent
    assert b"of-an-operator" not in sent


def test_it_is_off_unless_there_is_a_dsn() -> None:
    settings = logging_settings(level="INFO", json=True)
    assert settings["root"]["handlers"] == ["stderr"]
    given = {"dsn": "https://key@sentry.example/1", "environment": "LOCAL"}
    settings = logging_settings(level="INFO", json=True, sentry=given)
    assert settings["root"]["handlers"] == ["stderr", "sentry"]
    assert settings["handlers"]["sentry"]["level"] == "ERROR"


@pytest.mark.process
def test_a_senseless_dsn_is_a_fault_without_its_value() -> None:
    said = complaint({**PRODUCTION, "SENTRY_DSN": "sentry.example/shhh"})
    assert "SENTRY_DSN: is not a DSN" in said
    assert "shhh" not in said
    assert complaint({**PRODUCTION, "SENTRY_DSN": "https://key@sentry.example/1"}) == ""
