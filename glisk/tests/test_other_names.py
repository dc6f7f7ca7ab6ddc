"""What also works under another name: variables, paths, columns, keys, a command, rows by hand."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands, load_command_class
from django.db import connection
from django.test import Client
from django.utils import timezone

from authors.models import Author
from authors.tests.factories import wallet
from glisk.breaker import Breaker
from glisk.config import ConfigurationError, Environment
from glisk.errors import AccountError, TransientError
from glisk.models import SystemState
from glisk.tests.pipeline_world import add_ready_token
from reveals.keeper import KEY
from reveals.models import RevealTransaction
from tokens.models import ImageGenerationJob, IPFSUploadRecord, MintEvent


def ask(query: str) -> Any:
    """Return the only value of a query, as psql would show it."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        (value,) = cursor.fetchone()
    return json.loads(value) if isinstance(value, str) and value[:1] in '{"' else value


# -- variables ----------------------------------------------------------------------------


def test_a_variable_is_taken_under_its_other_name_unless_it_is_set() -> None:
    env = Environment({"GAS_STRATEGY": "fast", "A": "1", "B": "2", "EMPTY": "", "OTHER": "3"})
    env.also("GAS_STRATEGY", "KEEPER_GAS_STRATEGY")
    env.also("B", "A")
    env.also("OTHER", "EMPTY")

    assert env.choice("KEEPER_GAS_STRATEGY", "medium", ("medium", "fast")) == "fast"
    assert env.integer("A", 9, low=0, high=9) == 1
    assert env.integer("EMPTY", 9, low=0, high=9) == 3
    assert env.number("NEITHER", 9.0, low=0, high=9) == 9


def test_a_secrets_own_file_wins_over_another_name(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgres://ours@db/glisk")
    env = Environment({"B": "postgres://theirs@db/glisk", "A_FILE": str(tmp_path / "url")})
    env.also("B", "A")

    assert env.database_url("A") == "postgres://ours@db/glisk"
    assert env.faults == []


def test_a_fault_is_told_under_the_name_that_was_given() -> None:
    env = Environment({"WORKER_POLL_INTERVAL": "0.01"})
    env.also("WORKER_POLL_INTERVAL", "POLL_INTERVAL_SECONDS")
    env.number("POLL_INTERVAL_SECONDS", 5.0, low=0.1, high=3600)

    with pytest.raises(ConfigurationError, match=r"- WORKER_POLL_INTERVAL: is not a number"):
        env.finish()


# -- paths --------------------------------------------------------------------------------


def test_the_admin_keeps_its_pages(admin_client: Client) -> None:
    add_ready_token(1)
    for page in ("/admin/", "/admin/tokens/", "/admin/tokens/token/", "/admin/reveals/"):
        answer = admin_client.get(page)
        assert answer.status_code == 200, page
        assert "text/html" in answer["Content-Type"]
    tokens = admin_client.get("/admin/tokens", {"status": "ready"}).json()["tokens"]
    assert len(tokens) == 1
    number = tokens[0]["token_id"]
    assert admin_client.get(f"/admin/token/{number}").json()["token_id"] == number
    assert "stages" in admin_client.get("/admin/system/state").json()


@pytest.mark.django_db
def test_the_workers_page_tells_all_pending_and_active_jobs(client: Client) -> None:
    add_ready_token(1)
    found = client.get("/health/workers").json()
    assert found["pending_jobs"] == sum(stage["pending"] for stage in found["stages"])
    assert found["active_jobs"] == sum(stage["active"] for stage in found["stages"])
    assert found["pending_jobs"] + found["active_jobs"] > 0


# -- SQL by hand --------------------------------------------------------------------------


@pytest.mark.django_db
def test_columns_have_other_names() -> None:
    token = add_ready_token(1)
    job, upload = ImageGenerationJob.objects.get(), IPFSUploadRecord.objects.first()
    RevealTransaction.objects.update(effective_gas_price_wei=6_250_000)

    assert upload is not None
    assert ask("SELECT prompt_text FROM image_generation_jobs") == job.prompt
    assert ask("SELECT min(ipfs_cid) FROM ipfs_upload_records") == upload.computed_cid
    assert ask("SELECT gas_price_gwei FROM reveal_transactions") == Decimal("0.00625")
    assert ask("SELECT author FROM mint_events") == token.prompt_author_wallet
    MintEvent.objects.update(prompt_author=wallet(7))
    assert ask("SELECT author FROM mint_events") == wallet(7)


@pytest.mark.django_db
def test_an_author_is_inserted_by_wallet_and_prompt() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO authors (wallet_address, prompt_text) VALUES (%s, 'A quiet harbour')",
            [wallet(5)],
        )
    author = Author.objects.by_wallet(wallet(5)).get()
    assert author.prompt_text == "A quiet harbour"
    assert abs((timezone.now() - author.created_at).total_seconds()) < 60


@pytest.mark.django_db(transaction=True)
def test_keys_of_the_systems_state_follow_what_they_tell() -> None:
    health = "SELECT state_value FROM system_state WHERE state_key = 'service_health'"
    pinata, rpc = Breaker("pinata"), Breaker("rpc")
    pinata.failed(AccountError("the key is refused", vendor="pinata"))
    assert ask(health)["pinata"] == "unavailable"
    rpc.failed(TransientError("too many", vendor="rpc", rate_limited=True, retry_after_seconds=9))
    assert (ask(health)["pinata"], ask(health)["rpc"]) == ("unavailable", "rate_limited")
    SystemState.objects.filter(pk="breaker:pinata").update(state_value={})
    assert ask(health)["pinata"] == "healthy"

    for wei, gwei in ((6_250_000, Decimal("0.00625")), (12 * 10**9, Decimal(12))):
        SystemState.put(KEY, {"gas_price_wei": wei})
        assert gwei == ask(
            "SELECT state_value::numeric FROM system_state "
            "WHERE state_key = 'current_gas_price_gwei'"
        )


# -- the command --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["manual_reveal", "reconcile_reveals", "retry_failed", "repair_tokens"]
)
def test_token_ids_are_given_in_the_same_way_to_every_command(name: str) -> None:
    command = load_command_class(get_commands()[name], name)
    action = ["hold"] if name == "repair_tokens" else []
    given = command.create_parser("manage.py", name).parse_args(
        [*action, "--token-ids", "42", "3,7-8"]
    )
    assert given.token_ids == [42, 3, 7, 8]
