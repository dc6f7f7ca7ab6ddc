"""What concerns the whole system is ordered once, by those who may, and written down."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse
from django_q.models import OrmQ
from pytest_django import Settings

from glisk.models import OperatorAction, SystemState
from glisk.permissions import CHECK_DRIFT, RECONCILE, REVEAL_NOW, RUN_RECOVERY
from glisk.tests.admin_actions import operator
from reveals.models import RevealRequest
from sandbox.accounts import AUTHORS
from sandbox.tests.nodes import anvil_binary, deployed_chain, running_node
from tokens.models import Token
from tokens.recovery.drift import KEY as DRIFT_KEY
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory

__all__ = ["anvil_binary"]
pytestmark = pytest.mark.django_db
ORDERS = {
    "reveal_all": REVEAL_NOW,
    "reconcile": RECONCILE,
    "recover": RUN_RECOVERY,
    "check_drift": CHECK_DRIFT,
}


def page() -> str:
    return reverse("admin:glisk_systemstate_controls")


def give(client: Client, name: str) -> tuple[dict[str, str], str]:
    """Press a button of the page; return its form and what is said."""
    text = client.get(page()).content.decode()
    once = re.search(rf'value="{name}">\s*<input type="hidden" name="once" value="([^"]+)"', text)
    assert once is not None, text
    form = {"action": name, "once": once[1]}
    return form, client.post(page(), form, follow=True).content.decode()


def test_all_that_is_ready_is_revealed(client: Client) -> None:
    operator(client, REVEAL_NOW)
    tokens = [TokenFactory.create(status=TokenStatus.READY) for _ in range(3)]
    Token.objects.filter(pk=tokens[2].pk).update(held_at="2026-01-01T00:00Z", hold_reason="wait")
    assert "reveal of 2 tokens" in client.get(page()).content.decode()
    form, said = give(client, "reveal_all")
    assert "2 reveals are requested." in said
    wanted = set(RevealRequest.objects.values_list("token_id", "actor"))
    assert wanted == {(token.pk, "operator maria") for token in tokens[:2]}
    assert "done once" in client.post(page(), form, follow=True).content.decode()
    (row,) = OperatorAction.objects.all()
    assert (row.actor, row.action) == ("operator maria", "reveal_all")


def test_the_worker_is_told_to_recover_and_to_compare(client: Client) -> None:
    operator(client, RUN_RECOVERY, CHECK_DRIFT)
    give(client, "recover")
    give(client, "check_drift")
    functions = {task.task["func"] for task in OrmQ.objects.all()}
    assert functions == {
        "tokens.tasks.look_at_chain",
        "tokens.tasks.prove_completeness",
        "tokens.tasks.compare_everything",
    }
    assert OperatorAction.objects.count() == 2


def test_reveals_are_reconciled_and_everything_compared(
    client: Client, settings: Settings, anvil_binary: object
) -> None:
    from tokens.tasks import compare_everything

    operator(client, RECONCILE, CHECK_DRIFT)
    with running_node() as node:
        chain = deployed_chain(node)
        settings.RPC_URL = node.rpc_url
        settings.GLISK_NFT_CONTRACT_ADDRESS = chain.contract.address
        assert "0 ready tokens compared." in give(client, "reconcile")[1]
        chain.wait(chain.mint(1, AUTHORS[0].address, 2))
        assert compare_everything() > 0
    text = client.get(page()).content.decode()
    assert "Chain and database differ." in text
    assert "missing: " in text
    assert "recover_tokens" in text


def test_a_node_that_is_away_is_said_and_nothing_written(
    client: Client, settings: Settings
) -> None:
    settings.RPC_URL = "http://127.0.0.1:9"
    TokenFactory.create(status=TokenStatus.READY)
    operator(client, RECONCILE)
    assert "Reconcile reveals: " in give(client, "reconcile")[1]
    assert not OperatorAction.objects.exists()


def test_the_drift_report_is_shown(client: Client) -> None:
    operator(client, CHECK_DRIFT)
    assert "Nothing was compared yet." in client.get(page()).content.decode()
    value = {"tiled": True, "unrepaired": 0, "tokens_checked": 7, "next_token_id": 8, "counts": {}}
    SystemState.objects.create(state_key=DRIFT_KEY, state_value=value)
    assert "Chain and database agree." in client.get(page()).content.decode()
    SystemState.objects.filter(pk=DRIFT_KEY).update(state_value=[1])
    assert client.get(page()).status_code == 200


@pytest.mark.parametrize("name", ORDERS)
def test_each_order_needs_its_permission_and_a_confirmation(
    client: Client, admin_client: Client, name: str
) -> None:
    operator(client, *(set(ORDERS.values()) - {ORDERS[name]}))
    assert f'value="{name}"' not in client.get(page()).content.decode()
    assert client.post(page(), {"action": name, "once": "1"}).status_code == 403
    assert admin_client.post(page(), {"action": name}).status_code == 403
    assert not OperatorAction.objects.exists()
