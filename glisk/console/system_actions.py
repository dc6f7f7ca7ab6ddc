"""What operators may have done with the system as a whole, from the page of the controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django_q.tasks import async_task

from glisk.admin.actions import MOST_AT_ONCE
from glisk.clients.chain import ChainClient
from glisk.models import SystemState
from glisk.permissions import CHECK_DRIFT, RECONCILE, REVEAL_NOW, RUN_RECOVERY
from reveals.admin.tokens import reveal_cost
from reveals.by_hand import request_reveal
from reveals.reconcile import compare_transactions, reconcile_reveals
from tokens.models import Token
from tokens.recovery.drift import ADVICE
from tokens.recovery.drift import KEY as DRIFT_KEY

_SHOWN_FINDINGS = 20


@dataclass(frozen=True)
class SystemAction:
    """`about` says what it would do now, and what that costs; `run(actor)` says what it did."""

    name: str
    label: str
    permission: str
    about: Callable[[], str]
    run: Callable[[str], str]
    icon: str


def _about_reveals() -> str:
    number = _ready().count()
    if not number:
        return "No token is ready."
    going = min(number, MOST_AT_ONCE)
    first = f"{number} tokens are ready; the first {going} go. " if number > going else ""
    return f"{first}{reveal_cost(going)}"


def _reveal_all(actor: str) -> str:
    waiting = list(_ready().values_list("pk", flat=True)[:MOST_AT_ONCE])
    results = request_reveal(token_ids=waiting, actor=actor)
    done = sum(result.done for result in results)
    skipped = {result.message for result in results if not result.done}
    left_out = f" {len(results) - done} were left out: {' '.join(sorted(skipped))}"
    return f"{done} reveals are requested.{left_out if skipped else ''}"


def _ready() -> Any:
    return Token.objects.ready().filter(held_at=None).exclude(batch_items__is_open=True)


def _reconcile(actor: str) -> str:
    chain = ChainClient.from_settings()
    compared = compare_transactions(chain, actor=actor)
    report = reconcile_reveals(chain, actor=actor)
    parts = {
        "batches compared": compared.checked,
        "transactions entered": len(compared.entered),
        "moved to another block": len(compared.moved),
        "not on chain as noted": len(compared.doubtful),
        "ready tokens compared": report.checked,
        "noted as revealed by us": len(report.confirmed),
        "adopted": len(report.adopted),
        "revealed by others with a foreign URI": len(report.foreign),
    }
    always = ("batches compared", "ready tokens compared")
    said = [f"{number} {what}" for what, number in parts.items() if number or what in always]
    return ", ".join(said) + "."


def _recover(actor: str) -> str:
    async_task("tokens.tasks.look_at_chain")
    async_task("tokens.tasks.prove_completeness")
    return "A worker reads the chain now; what it finds stands in the log and below."


def _compare(actor: str) -> str:
    async_task("tokens.tasks.compare_everything")
    return "A worker compares tokens now; the report below is replaced when it is done."


SYSTEM_ACTIONS: Final = (
    SystemAction(
        "reveal_all",
        "Reveal all that is ready",
        REVEAL_NOW,
        _about_reveals,
        _reveal_all,
        icon="visibility",
    ),
    SystemAction(
        "reconcile",
        "Reconcile reveals",
        RECONCILE,
        lambda: "Compares transactions and ready tokens with the chain, and follows it.",
        _reconcile,
        icon="sync_alt",
    ),
    SystemAction(
        "recover",
        "Run the recovery",
        RUN_RECOVERY,
        lambda: "Reads new and missing mints from the chain. The worker does so every few seconds.",
        _recover,
        icon="healing",
    ),
    SystemAction(
        "check_drift",
        "Compare everything",
        CHECK_DRIFT,
        lambda: (
            "Compares tokens with the contract, the newest first, for some minutes, and proves "
            "that no mint is missing. Changes no token. `manage.py check_drift` takes its time."
        ),
        _compare,
        icon="difference",
    ),
)


def drift_report() -> dict[str, Any] | None:
    """Return the last comparison with the chain for a page: when, what differs, what to do."""
    row = SystemState.objects.filter(pk=DRIFT_KEY).first()
    if row is None or not isinstance(row.state_value, dict):
        return None
    value = row.state_value
    found = [finding for finding in value.get("findings", []) if isinstance(finding, dict)]
    return {
        **value,
        "at": row.updated_at,
        "is_clean": bool(value.get("tiled")) and not value.get("unrepaired"),
        "kinds": [
            {
                "kind": kind,
                "number": number,
                "advice": ADVICE.get(kind, ""),
                "findings": [f for f in found if f.get("kind") == kind][:_SHOWN_FINDINGS],
            }
            for kind, number in sorted(value.get("counts", {}).items())
        ],
    }
