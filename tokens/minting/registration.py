"""Turn mints into tokens: the one way in, for the webhook and for the backfill.

Calling it twice with the same log, in turn or at the same time, ends as calling it once. Each
log stands alone: what is wrong with one never hides another.

The order of the statements matters. Mint events come first, sorted, then tokens, sorted: two
calls that overlap wait for each other in the same order, so they cannot deadlock (one call per
transaction keeps that true). Authors are read after the mint events were written: whoever adds
an author and then adopts that wallet's waiting tokens only has to take
`LOCK TABLE mint_events IN SHARE MODE` before both, and no token falls in between.

What contradicts the database (another block, other tokens, another mint of the same tokens)
changes nothing here: which side is right only the chain can say. The mints in question count as
unsettled again, so that the next look at the chain asks (tokens.recovery).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import structlog
from django.db import transaction

from tokens.minting.mint_events import (
    KnownMint,
    known_mints,
    store_mints,
    unsettle,
)
from tokens.minting.mint_log import MintLog
from tokens.models.mint import MintSource
from tokens.transitions.creation import NewTokens, complete_tokens, create_tokens

logger = structlog.get_logger(__name__)

_LOGGED_SINGLY = 10  # mints of one call; of more, there is one line for all


class MintResult(StrEnum):
    REGISTERED = "registered"
    COMPLETED = "completed"  # its tokens were known without their mint
    DUPLICATE = "duplicate"  # known already, nothing was missing
    CONFLICT = "conflict"  # some of its token ids belong to another mint
    REORGED = "reorged"  # known already, but from another block


@dataclass(frozen=True)
class MintOutcome:
    """What became of one log: the tokens it created, and those that another mint had first.

    `completed` are tokens that were found in the contract before, and have got their mint now.
    """

    log: MintLog
    result: MintResult
    created: tuple[int, ...] = ()
    conflicting: tuple[int, ...] = ()
    completed: tuple[int, ...] = ()


def register_mint(*, event: MintLog, source: MintSource, actor: str) -> MintOutcome:
    """Register one mint; see `register_mints`."""
    return register_mints([event], source=source, actor=actor)[0]


def register_mints(
    logs: Sequence[MintLog],
    *,
    source: MintSource,
    actor: str,
    only_ids: Collection[int] | None = None,
) -> list[MintOutcome]:
    """Store the mints and create their tokens; return one outcome per log, in their order.

    All of it commits together, in the caller's transaction or in one of its own, and wakes the
    pipeline if there is a new token. A known mint whose tokens are not all there gets the
    missing ones. `only_ids`: create no other tokens. Idempotent and safe to call at the same
    time from several processes.
    """
    unique = _first_of_each(logs)
    ordered = [unique[key] for key in sorted(unique)]
    if not ordered:
        return []
    with transaction.atomic(savepoint=False):
        stored = store_mints(ordered, source)
        known = known_mints([log for log in ordered if log.key not in stored])
        wanting = {**stored}
        for log in ordered:
            mint = known.get(log.key)
            if mint and _same_mint(mint, log) and len(mint.token_ids) < log.quantity:
                wanting[log.key] = mint.id
        mints = [(wanting[log.key], log) for log in ordered if log.key in wanting]
        work = _Work(stored, known, wanting, only_ids)
        work.created = create_tokens(
            [_new_tokens(*mint) for mint in mints],
            actor=actor,
            detail={"source": source.value},
            only_ids=only_ids,
        )
        if any(work.left_over(log) for _, log in mints):
            work.completed = complete_tokens(mints, actor=actor)
        found = {log.key: work.outcome(log) for log in ordered}
        doubtful = [
            outcome.log
            for outcome in found.values()
            if outcome.result in (MintResult.CONFLICT, MintResult.REORGED)
        ]
        if doubtful:
            unsettle(doubtful)
    outcomes = _in_order(logs, unique, found)
    _report(outcomes)
    return outcomes


def _first_of_each(logs: Sequence[MintLog]) -> dict[tuple[str, int], MintLog]:
    """Return the first log of each key; a transaction stands in one block, its first one."""
    blocks: dict[str, str] = {}
    for log in logs:
        blocks.setdefault(log.tx_hash, log.block_hash)
    usable = [log for log in logs if blocks[log.tx_hash] == log.block_hash]
    return {log.key: log for log in reversed(usable)}


def _in_order(
    logs: Sequence[MintLog],
    unique: dict[tuple[str, int], MintLog],
    found: dict[tuple[str, int], MintOutcome],
) -> list[MintOutcome]:
    """Return one outcome per log: that of its key where it came first."""
    outcomes: list[MintOutcome] = []
    seen: set[tuple[str, int]] = set()
    for log in logs:
        first = unique.get(log.key)
        if first is None:  # its transaction stands in another block by this very call
            outcomes.append(MintOutcome(log, MintResult.REORGED))
        elif log.key in seen or log != first:
            outcomes.append(_repeated(log, first))
        else:
            outcomes.append(found[log.key])
            seen.add(log.key)
    return outcomes


@dataclass
class _Work:
    """One call's statements, and what they say about a log."""

    stored: dict[tuple[str, int], int]
    known: dict[tuple[str, int], KnownMint]
    wanting: dict[tuple[str, int], int]
    only_ids: Collection[int] | None
    created: dict[int | None, list[int]] = field(default_factory=dict)
    completed: dict[int, list[int]] = field(default_factory=dict)

    def left_over(self, log: MintLog) -> set[int]:
        """Return the tokens of a log that neither hung on its mint nor were created by it."""
        mint_id = self.wanting.get(log.key, 0)
        mint = self.known.get(log.key)
        ids = set(log.token_ids) - (mint.token_ids if mint else frozenset())
        if self.only_ids is not None:
            ids &= set(self.only_ids)
        return ids - set(self.created.get(mint_id, ())) - set(self.completed.get(mint_id, ()))

    def outcome(self, log: MintLog) -> MintOutcome:
        mint = self.known.get(log.key)
        if mint is None and log.key not in self.stored:
            return MintOutcome(log, MintResult.REORGED)  # its transaction, in another block
        if mint and mint.log_facts != log.facts:
            return MintOutcome(log, MintResult.CONFLICT, conflicting=tuple(log.token_ids))
        if mint and mint.block_hash != log.block_hash:
            return MintOutcome(log, MintResult.REORGED)
        mint_id = self.wanting.get(log.key, 0)
        made = tuple(sorted(self.created.get(mint_id, ())))
        completed = tuple(sorted(self.completed.get(mint_id, ())))
        others = tuple(sorted(self.left_over(log)))
        if others:
            return MintOutcome(log, MintResult.CONFLICT, made, others, completed)
        result = MintResult.REGISTERED if made else MintResult.DUPLICATE
        if completed and not made:
            result = MintResult.COMPLETED
        return MintOutcome(log, result, made, completed=completed)


def _new_tokens(mint_event_id: int, log: MintLog) -> NewTokens:
    return NewTokens(
        mint_event_id=mint_event_id,
        first_id=log.start_token_id,
        quantity=log.quantity,
        wallet=log.prompt_author,
        minter=log.minter,
        minted_at=log.block_timestamp,
        reason=f"minted in transaction {log.tx_hash}, log {log.log_index}",
    )


def _same_mint(mint: KnownMint, log: MintLog) -> bool:
    return mint.log_facts == log.facts and mint.block_hash == log.block_hash


def _repeated(log: MintLog, first: MintLog) -> MintOutcome:
    """Return the outcome of a log whose like came before it in the same call."""
    if log == first:
        return MintOutcome(log, MintResult.DUPLICATE)
    if log.facts == first.facts:
        return MintOutcome(log, MintResult.REORGED)
    return MintOutcome(log, MintResult.CONFLICT, conflicting=tuple(log.token_ids))


def _report(outcomes: Sequence[MintOutcome]) -> None:
    registered = [o for o in outcomes if o.result == MintResult.REGISTERED]
    in_bulk = len(registered) > _LOGGED_SINGLY
    if in_bulk:  # a history is read: the timeline has each of them
        made = [token_id for outcome in registered for token_id in outcome.created]
        logger.info(
            "mints_registered",
            mints=len(registered),
            tokens=len(made),
            first=min(made),
            last=max(made),
        )
    for outcome in outcomes:
        log = outcome.log
        facts = {"tx_hash": log.tx_hash, "log_index": log.log_index, "first": log.start_token_id}
        if outcome.result == MintResult.REGISTERED:
            if not in_bulk:
                logger.info("mint_registered", tokens=len(outcome.created), **facts)
        elif outcome.result == MintResult.COMPLETED:
            logger.info("mint_found_later", tokens=len(outcome.completed), **facts)
        elif outcome.result == MintResult.CONFLICT:
            logger.error("mint_conflict", token_ids=outcome.conflicting[:10], **facts)
        elif outcome.result == MintResult.REORGED:
            logger.warning("mint_from_another_block", block_hash=log.block_hash, **facts)
