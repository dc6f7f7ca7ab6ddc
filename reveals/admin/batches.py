"""The list of reveal batches, and the page of one with every transaction signed for it."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from glisk.admin.actions import ActionsAdmin, AdminAction, Forecast, Outcome
from glisk.admin.formatting import NOTHING, age, ether, wallet_link
from glisk.admin.tables import ExactSearch, MachineAdmin, MachineInline, as_hash, as_id, column
from glisk.permissions import SPEED_UP
from reveals.admin.transactions import TransactionColumns, elapsed, page_link
from reveals.by_hand import request_replacement
from reveals.keeper import configured_ceiling_wei
from reveals.models import BatchStatus, RevealBatch, RevealBatchToken, RevealTransaction
from tokens.admin.records import token_link

BATCH_LABELS = {
    BatchStatus.OPEN: "info",
    BatchStatus.CONFIRMED: "success",
    BatchStatus.REVERTED: "danger",
}


def _replace(keys: Sequence[Any], actor: str, reason: str) -> Sequence[Outcome]:
    return request_replacement(batch_ids=keys, actor=actor)


def _forecast_replacement(keys: Sequence[Any]) -> Forecast:
    outcomes = request_replacement(batch_ids=keys, actor="", dry_run=True)
    going = RevealBatch.objects.filter(pk__in=[each.key for each in outcomes if each.done])
    most = sum(batch.newest.gas_limit for batch in going) * configured_ceiling_wei()
    cost = f"At the very most {ether(most)} instead of what was offered; only one of them is mined."
    return Forecast(outcomes, cost)


REPLACE_BATCH = AdminAction(
    name="speed_up",
    label="Speed up",
    permission=SPEED_UP,
    explanation="Has a transaction that waits in the node's pool replaced now: the same nonce, "
    "the same tokens, higher fees, never above REVEAL_MAX_GAS_PRICE_GWEI. The worker itself does "
    "so after TRANSACTION_TIMEOUT_SECONDS.",
    run=_replace,
    forecast=_forecast_replacement,
    reason="none",
    icon="fast_forward",
    fits=lambda batch: batch.status == BatchStatus.OPEN,
)


class TransactionInline(TransactionColumns, MachineInline):
    model = RevealTransaction
    verbose_name_plural = "Transactions"
    fields = ("link", "state", "fee_cap", "price", "used", "cost", "signed")
    readonly_fields = fields
    ordering = ("-id",)

    link = column("Transaction", page_link)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RevealTransaction]:
        found: QuerySet[RevealTransaction] = super().get_queryset(request)
        return found.defer("raw_transaction", "metadata_uris")


class ItemInline(MachineInline):
    model = RevealBatchToken
    verbose_name_plural = "Tokens"
    fields = ("position", "token_link", "metadata_uri", "is_open")
    readonly_fields = fields
    ordering = ("position",)

    token_link = column("Token", lambda item: token_link(item.token_id))


_FACTS = ("nonce", "size", "attempts", "gas", "cost")


@admin.register(RevealBatch)
class RevealBatchAdmin(ActionsAdmin, ExactSearch, MachineAdmin):
    list_display = ("number", "state", *_FACTS, "opened", "took")
    list_filter = ("status",)
    ordering = ("-id",)
    sortable_by = ("number", "opened")
    search_ids = ("nonce",)
    search_wallets = ("keeper",)
    search_help_text = "Nonce, token number, keeper or transaction hash"
    when_empty = "Each group of tokens stands here when its reveal is prepared."
    fields = ("state", "keeper_link", *_FACTS, "wanted", "created_at", "closed_at", "took")
    inlines = (TransactionInline, ItemInline)
    list_before_template = "admin/reveals/revealbatch/above_list.html"
    change_form_before_template = "admin/action_buttons.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[RevealBatch]:
        found: QuerySet[RevealBatch] = super().get_queryset(request)
        rows = RevealTransaction.objects.order_by("id").defer("raw_transaction", "metadata_uris")
        return found.prefetch_related(Prefetch("transactions", queryset=rows))

    def all_actions(self) -> Sequence[AdminAction]:
        return (REPLACE_BATCH,)

    def search_conditions(self, term: str) -> Q:
        """Look for tokens and transactions apart: a join would read those of every batch."""
        wanted = super().search_conditions(term)
        if (token_id := as_id(term)) is not None:
            items = RevealBatchToken.objects.filter(token_id=token_id)
            wanted |= Q(pk__in=items.values("batch"))
        if (tx_hash := as_hash(term)) is not None:
            sent = RevealTransaction.objects.filter(tx_hash=tx_hash)
            wanted |= Q(pk__in=sent.values("batch"))
        return wanted

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow the link from a token's page."""
        return lookup == "items__token__token_id" or super().lookup_allowed(lookup, value, request)

    number = column("Batch", lambda batch: f"Batch {batch.pk}", ordering="id")
    state = column("State", lambda batch: batch.status, label=BATCH_LABELS)
    # The transactions that were signed for its nonce.
    attempts = column("Attempts", lambda batch: len(batch.transactions.all()))
    wanted = column(
        "Speeding up",
        lambda batch: f"wanted by {batch.replace_by}" if batch.replace_at else NOTHING,
    )
    keeper_link = column("Keeper", lambda batch: wallet_link(batch.keeper))
    cost = column("Cost", lambda batch: ether(mined.cost_wei if (mined := _mined(batch)) else None))
    took = column("Took", lambda batch: elapsed(batch.created_at, batch.closed_at))
    opened = column("Age", lambda batch: age(batch.created_at), ordering="id")

    @display(description="Tokens")
    def size(self, batch: RevealBatch) -> int:
        """Count the tokens of the call that is signed first: a replacement may leave some out."""
        signed = batch.transactions.all()
        return len(signed[0].token_ids if signed else (batch.to_sign or {}).get("token_ids", ()))

    @display(description="Gas per token")
    def gas(self, batch: RevealBatch) -> str:
        mined = _mined(batch)
        if mined is None or not mined.gas_used:
            return NOTHING
        return f"{mined.gas_used // max(1, len(mined.token_ids)):,}"


def _mined(batch: RevealBatch) -> RevealTransaction | None:
    """Return the transaction that spent the batch's nonce."""
    return next((row for row in batch.transactions.all() if row.block_number is not None), None)
