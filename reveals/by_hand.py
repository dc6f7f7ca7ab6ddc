"""Reveals and replacements that an operator asks for: by command, from the admin, by the API.

Nobody but the drain sends anything, since one keeper has one sequence of nonces: a request marks
ready tokens as wanted now and wakes it. It takes them through the same gate, only without waiting
for company.
A preview asks gateways and chain what a reveal would do and cost; it writes and sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import structlog
from django.conf import settings
from django.db import transaction

from glisk.admin.actions import Outcome
from glisk.clients.chain import ChainClient
from glisk.clients.ipfs import GatewayClient
from glisk.engine.broker import notify
from glisk.errors import ProviderError
from reveals import gate, outbox
from reveals.gate import Candidate, tokens_by_id
from reveals.keeper import choose_fees, configured_ceiling_wei, least_bump
from reveals.models import BatchStatus, RevealBatch, RevealRequest
from reveals.outbox import Unsigned
from reveals.pipeline.compose import l1_fee_wei, most_wei, prepare_batch, without
from reveals.pipeline.verify import CONCURRENCY
from tokens.models import Token
from tokens.registry import in_flight
from tokens.repairs.results import RepairResult, note, repair_each, wake
from tokens.states import TokenStatus
from tokens.transitions import REVEAL_CHANNEL
from tokens.transitions.claims import Refusal, forget_delay

logger = structlog.get_logger(__name__)


def request_reveal(
    *,
    token_ids: Iterable[int] = (),
    all_ready: bool = False,
    actor: str,
    dry_run: bool = False,
) -> list[RepairResult]:
    """Have these tokens (or all that are ready) revealed now; return what came of each.

    A token that is unknown, held, not ready, in a transaction already, revealed or failed is
    answered by that name, and the rest goes on. `dry_run` only answers.
    """
    wanted = set(token_ids)
    if all_ready:
        ready = Token.objects.filter(status=TokenStatus.READY, held_at=None)
        wanted.update(ready.values_list("token_id", flat=True))
    if not dry_run:
        RevealRequest.objects.exclude(token__status=TokenStatus.READY).delete()
    request = partial(_request, actor=actor, dry_run=dry_run)
    return repair_each(wanted, request, lock=not dry_run)


def _request(tokens: Sequence[Token], *, actor: str, dry_run: bool) -> list[RepairResult]:
    # After the locks: a reveal that had them first has committed its batch by now.
    revealing = in_flight(token.pk for token in tokens)
    results = []
    for token in tokens:
        refusal = refusal_of(token, is_in_flight=token.pk in revealing)
        if not refusal and not dry_run:
            # Marked, tried at once, and the drain is woken with the commit.
            _, is_new = RevealRequest.objects.get_or_create(token=token, defaults={"actor": actor})
            forget_delay([token.pk], status=TokenStatus.READY)
            if is_new:
                note(token, reason="reveal requested", actor=actor, kind="reveal")
            wake(TokenStatus.READY)
        done = "Its reveal is requested: it goes with the next batch."
        results.append(RepairResult(token.pk, not refusal, refusal or done))
    return results


def refusal_of(token: Token, *, is_in_flight: bool = False) -> str:
    """Return why a token's reveal cannot be requested; an empty text: it can."""
    if token.status == TokenStatus.REVEALED:
        by = f" by {token.reveal_tx_hash}" if token.reveal_tx_hash else ", by somebody else"
        return f"It is revealed already{by}."
    if token.status == TokenStatus.FAILED:
        return f"It failed: {token.generation_error or 'see its timeline'} Retry it first."
    if token.status != TokenStatus.READY:
        return f"It is not ready: it is {token.status}."
    if token.held_at is not None:
        return f"It is held: {token.hold_reason}. Release it first."
    if is_in_flight:
        return "Its reveal is under way in a transaction."
    return ""


@dataclass(frozen=True)
class PlannedBatch:
    """One transaction: tokens in their order, gas, and wei at the price of the next block."""

    token_ids: list[int]
    gas: int
    price_per_gas_wei: int
    cost_wei: int
    most_wei: int  # as long as Base's L1 data fee does not rise


@dataclass
class RevealPlan:
    """What would go in which transactions, what would not, and what the keeper has to pay it."""

    batches: list[PlannedBatch] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    balance_wei: int = 0

    @property
    def token_ids(self) -> list[int]:
        return [token_id for batch in self.batches for token_id in batch.token_ids]


def preview_reveal(
    chain: ChainClient, gateway: GatewayClient, *, keeper: str, token_ids: Iterable[int]
) -> RevealPlan:
    """Take ready tokens through the gate and compose their batches, as the drain would now.

    Raises `GasPriceTooHighError`, `ChainSetupError`, `RevertError`, and the errors of the chain's
    client.
    """
    candidates = tokens_by_id(token_ids)
    plan = RevealPlan(refused=_check_artefacts(gateway, candidates))
    passing = without(candidates, plan.refused)
    while passing:
        batch = passing[: settings.BATCH_REVEAL_MAX_TOKENS]
        prepared = prepare_batch(chain, keeper=keeper, candidates=batch)
        plan.balance_wei = prepared.facts.balance_wei
        plan.refused += prepared.refused
        passing = without(passing, [*prepared.refused, *prepared.candidates])
        if not prepared.candidates:
            continue
        history = prepared.history
        fees = choose_fees(history, ceiling_wei=configured_ceiling_wei())
        call = Unsigned.of(prepared.candidates, gas_limit=prepared.gas_limit, fees=fees)
        price_wei = history.next_base_fee_per_gas_wei + fees.max_priority_fee_per_gas_wei
        gas = int(prepared.gas_limit / settings.REVEAL_GAS_BUFFER)
        cost_wei = gas * price_wei + l1_fee_wei(call, history)
        plan.batches.append(
            PlannedBatch(call.token_ids, gas, price_wei, cost_wei, most_wei(call, history))
        )
    return plan


def _check_artefacts(gateway: GatewayClient, candidates: Sequence[Candidate]) -> list[Refusal]:
    def look(candidate: Candidate) -> Refusal | None:
        try:
            gate.check_artefacts(gateway, candidate)
        except ProviderError as error:
            final = gate.is_final(error)
            return Refusal(candidate.token_id, str(error), error.error_class, final)
        return None

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return [refusal for refusal in pool.map(look, candidates) if refusal is not None]


# -- replacements that a person asks for ----------------------------------------------------


def request_replacement(
    *, batch_ids: Iterable[int], actor: str, dry_run: bool = False
) -> list[Outcome]:
    """Ask for a replacement of each batch's newest transaction; return what came of each."""
    return [_replace(pk, actor=actor, dry_run=dry_run) for pk in sorted(set(batch_ids))]


@transaction.atomic
def _replace(batch_id: int, *, actor: str, dry_run: bool) -> Outcome:
    batch = RevealBatch.objects.select_for_update().filter(pk=batch_id).first()
    refusal = f"There is no batch {batch_id}." if batch is None else _no_replacement(batch)
    if not refusal and not dry_run:
        outbox.want_replacement(batch_id, actor=actor)
        notify(REVEAL_CHANNEL)
        logger.info("replacement_requested", batch_id=batch_id, actor=actor)
    done = "A replacement with higher fees is requested: the worker signs it now."
    return Outcome(batch_id, not refusal, refusal or done)


def _no_replacement(batch: RevealBatch) -> str:
    if batch.status != BatchStatus.OPEN:
        return f"Nothing of it is under way: it is {batch.status}."
    if batch.replace_at is not None:
        return f"A replacement is requested already, by {batch.replace_by}."
    newest = batch.transactions.defer("raw_transaction").order_by("pk").last()
    if newest is None or newest.broadcast_at is None:
        return "No node has taken its newest transaction yet: it is sent again within seconds."
    ceiling = configured_ceiling_wei()
    offered = int(newest.max_fee_per_gas_wei)
    if least_bump(offered) > ceiling:
        return (
            f"It offers {offered / 1e9:g} gwei already, and REVEAL_MAX_GAS_PRICE_GWEI "
            f"({ceiling / 1e9:g}) leaves no room for an eighth more."
        )
    return ""
