"""A mint, live: the real web server streams it to many, and still answers everybody else."""

import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import InterfaceError, connection
from django.test import Client

from glisk.api.exceptions import TryLater
from glisk.tests.web_server import WebServer, web
from tokens.api import streams
from tokens.api.streams import EventStream, event
from tokens.models import Token
from tokens.tests.factories import MintEventFactory, TokenFactory, hash32

__all__ = ["web"]  # the fixture


class Stream:
    """A client that reads events as they come."""

    def __init__(self, server: WebServer, tx_hash: str, **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self._connection.request("GET", f"/api/mints/{tx_hash}/events", headers=headers)
        self.answer = self._connection.getresponse()

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        name = ""
        while line := self.answer.readline():
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)

    def vanish(self) -> None:
        """Leave as a phone does whose network is gone: nothing is said but that nobody is here."""
        at_once = struct.pack("ii", 1, 0)
        self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.close()

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


@pytest.fixture
def listen(web: Callable[..., WebServer]) -> Iterator[Callable[..., Stream]]:
    """Open streams that are closed before the server is stopped."""
    streams: list[Stream] = []

    def open_one(server: WebServer, tx_hash: str, **headers: str) -> Stream:
        streams.append(Stream(server, tx_hash, **headers))
        return streams[-1]

    yield open_one
    for stream in streams:
        stream.close()


def mint_one(token_id: int = 1, **facts: Any) -> Token:
    found = MintEventFactory.create(start_token_id=token_id, **facts)
    token: Token = TokenFactory.create(token_id=token_id, mint_event=found)
    return token


def end_the_servers_connections() -> None:
    """Do as a database that is restarted: every connection but the test's own is gone."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        ended = [is_gone for (is_gone,) in cursor.fetchall()]
    assert ended
    assert all(ended)


@pytest.mark.django_db(transaction=True)
def test_streams_tell_each_move_hold_up_nobody_and_end_with_the_server(
    web: Callable[..., WebServer], listen: Callable[..., Stream]
) -> None:
    server = web(WEB_WORKERS="1", WEB_THREADS="2", WEB_STREAMS="12", DB_POOL_SIZE="2")
    tx_hash = hash32(0x7A57)
    stream = listen(server, tx_hash)  # before the mint is detected
    assert stream.answer.status == 200
    assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
    token = mint_one(1, tx_hash=tx_hash)
    events = stream.events()
    name, document = next(events)
    assert (name, document["tokens"][0]["status"]) == ("mint", "detected")
    end_the_servers_connections()
    assert server.get(f"/api/mints/{tx_hash}")[0] == 200
    token.mark_generating()
    assert next(events)[1]["tokens"][0]["status"] == "generating"
    token.mark_uploading(image_cid="bafy")
    token.mark_ready(metadata_cid="Qm")
    token.mark_revealed(tx_hash=hash32(9))
    *_, (last_name, last) = events  # the server ends the stream
    assert (last_name, last) == ("done", {"tx_hash": tx_hash})
    again = listen(server, tx_hash, **{"Last-Event-ID": "1"})
    assert again.answer.status == 204
    late = listen(server, tx_hash)
    assert [name for name, _ in late.events()] == ["mint", "done"]

    token, tx_hash = mint_one(2, tx_hash=hash32(0x7A58)), hash32(0x7A58)
    streams = [listen(server, tx_hash) for _ in range(12)]
    for stream in streams:
        assert next(stream.events())[0] == "mint"
    full = listen(server, tx_hash)
    assert full.answer.status == 503
    assert full.answer.headers["Retry-After"] == "5"
    assert isinstance(json.loads(full.answer.read())["detail"], str)
    with ThreadPoolExecutor(4) as pool:
        url = f"/api/mints/{tx_hash}"
        assert set(pool.map(lambda _: server.get(url)[0], range(40))) == {200}
    streams[0].vanish()
    token.mark_generating()  # the server notices when it has something to say
    deadline = time.monotonic() + 60
    while (again := listen(server, tx_hash)).answer.status == 503:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert next(again.events())[1]["tokens"][0]["status"] == "generating"
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 20  # not the grace of 25 s


def test_a_question_for_the_headers_opens_no_stream(client: Client) -> None:
    """Its body is never written, so that nobody would notice when the client has gone."""
    answer = client.head(f"/api/mints/{hash32(1)}/events")
    assert (answer.status_code, answer.streaming, answer.content) == (200, False, b"")
    assert answer["Content-Type"] == "text/event-stream"
    assert client.head("/api/mints/0x12/events").status_code == 404


def test_a_client_that_leaves_frees_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_places", threading.BoundedSemaphore(1))
    stream = EventStream(hash32(1))
    with pytest.raises(TryLater):
        EventStream(hash32(2))
    stream.close()
    EventStream(hash32(2)).close()


def test_one_look_serves_all_and_a_fault_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [InterfaceError, ValueError]
    looks: list[set[str]] = []

    def look(tx_hashes: set[str]) -> dict[str, dict[str, Any]]:
        looks.append(tx_hashes)
        if faults:
            raise faults.pop()
        return {tx_hash: {"tokens": [], "done": True} for tx_hash in tx_hashes}

    monkeypatch.setattr(streams, "mint_documents", look)
    hashes = [hash32(n) for n in range(40)]
    streams_of_all = [EventStream(tx_hash) for tx_hash in hashes]
    with ThreadPoolExecutor(40) as pool:
        told = list(pool.map(b"".join, streams_of_all))
    for stream, text in zip(streams_of_all, told, strict=True):
        stream.close()
        assert text.count(b"event: mint") == 1
        assert text.endswith(event("done", {"tx_hash": stream.tx_hash}))
    assert looks == [set(hashes)] * 3


def test_an_event_is_one_line_of_data() -> None:
    assert event("mint", {"a": "x\ny"}) == b'id: 1\nevent: mint\ndata: {"a":"x\\ny"}\n\n'
