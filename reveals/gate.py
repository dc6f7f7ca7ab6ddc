"""The gate before a reveal: which tokens may go next, and what becomes of those turned away.

A token must prove much, since nothing can be taken back. Artefacts are fetched from a gateway by
CID and hashed again, once per token. What the chain says (minted, author, unrevealed,
confirmations, canonical block) is read for the whole batch as of one block, in two round trips,
right before signing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction

from glisk.clients.chain import ChainClient, RevealFacts
from glisk.clients.http import loads
from glisk.clients.ipfs import GatewayClient
from glisk.errors import AccountError, ArtefactError, ProviderError
from reveals.models import RevealTransaction
from tokens.states import TokenStatus
from tokens.transitions.claims import Refusal, postpone_reveals
from tokens.transitions.status import Move, move_tokens

logger = structlog.get_logger(__name__)

_METADATA_MAX_BYTES = 100_000
_NUMBER_AT_END = re.compile(r"#(\d{1,19})", re.ASCII)


class ChainSetupError(AccountError):
    """The node, the contract or the keeper's role is not what it has to be: nothing is sent."""

    error_class = "chain_setup"


@dataclass(frozen=True)
class Candidate:
    """A ready token as the database has it."""

    token_id: int
    prompt_author_wallet: str
    image_cid: str
    metadata_cid: str
    mint_block: int | None
    mint_block_hash: str | None
    # How often it was refused in this state; says nothing of what the token is.
    refusals: int = field(default=0, compare=False)

    @property
    def metadata_uri(self) -> str:
        return f"ipfs://{self.metadata_cid}"


def check_artefacts(gateway: GatewayClient, candidate: Candidate) -> None:
    """Fetch metadata and image by CID and check them.

    Raises `ArtefactError` if they are not what will be revealed, `TransientError` if a gateway
    does not have them yet.
    """
    metadata = gateway.fetch_verified(candidate.metadata_cid, max_bytes=_METADATA_MAX_BYTES)
    fault = metadata_fault(metadata, token_id=candidate.token_id, image_cid=candidate.image_cid)
    if fault is not None:
        raise ArtefactError(
            f"gateway: {fault}. Its CID proves that it was stored so: upload it again.",
            vendor="gateway",
            code="metadata",
        )
    gateway.fetch_verified(candidate.image_cid, max_bytes=settings.IMAGE_MAX_BYTES)


def metadata_fault(text: bytes, *, token_id: int, image_cid: str) -> str | None:
    """Return what is wrong with metadata that is about to be revealed, or None.

    The name's number must be the token's; its words may be those of earlier settings.
    """
    try:
        document = loads(text)
    except ValueError:
        return "the metadata is not JSON"
    if not isinstance(document, dict):
        return "the metadata is not a JSON object"
    if _number_in(document.get("name")) != token_id:
        return f"the metadata's name is not that of token {token_id}"
    if document.get("image") != f"ipfs://{image_cid}":
        return "the metadata points to another image"
    if not isinstance(document.get("attributes"), list):
        return "the metadata has no list of attributes"
    return None


def _number_in(name: object) -> int | None:
    found = _NUMBER_AT_END.fullmatch(name.rpartition(" ")[2]) if isinstance(name, str) else None
    return int(found[1]) if found else None


def is_final(error: ProviderError) -> bool:
    """Tell whether an artefact is wrong for good.

    Metadata that was proved by its CID and says something wrong is, and so is a stored CID that
    is none. Bytes that are not those of the CID say more of the gateway than of the token: a
    page of a proxy or of a maintenance comes with status 200 as well.
    """
    return isinstance(error, ArtefactError) and error.code in ("metadata", "bad_cid")


def read_facts(chain: ChainClient, *, keeper: str, candidates: Sequence[Candidate]) -> RevealFacts:
    """Ask the chain about the candidates; raise `ChainSetupError` if nothing may be sent at all."""
    facts = chain.reveal_facts(
        keeper=keeper,
        token_ids=[c.token_id for c in candidates],
        mint_blocks=sorted({c.mint_block for c in candidates if c.mint_block is not None}),
        confirmations=settings.MINT_CONFIRMATIONS,
    )
    check_setup(facts, keeper=keeper)
    return facts


def check_setup(facts: RevealFacts, *, keeper: str) -> None:
    """Raise `ChainSetupError` if nothing may be sent at all."""
    check_chain(facts.chain_id)
    if not facts.has_code:
        raise _setup_error(
            f"there is no contract at {settings.GLISK_NFT_CONTRACT_ADDRESS}: check "
            "GLISK_NFT_CONTRACT_ADDRESS and NETWORK"
        )
    if not facts.is_keeper:
        raise _setup_error(f"{keeper} has no KEEPER_ROLE: let the contract's admin grant it")


def check_chain(chain_id: int) -> None:
    """Raise `ChainSetupError` for another chain than that of NETWORK."""
    if chain_id != settings.CHAIN_ID:
        raise _setup_error(
            f"the node is on chain {chain_id}, but NETWORK is {settings.NETWORK} "
            f"({settings.CHAIN_ID}): check RPC_URL"
        )


def _setup_error(problem: str) -> ChainSetupError:
    return ChainSetupError(f"chain: {problem}. Reveals wait.", vendor="chain")


def check_tokens(candidates: Sequence[Candidate], facts: RevealFacts) -> list[Refusal]:
    """Return what the chain says against each candidate; no entry means that it may pass."""
    found = (_check_token(candidate, facts) for candidate in candidates)
    return [refusal for refusal in found if refusal is not None]


def _check_token(candidate: Candidate, facts: RevealFacts) -> Refusal | None:
    token_id, wallet = candidate.token_id, candidate.prompt_author_wallet
    token = facts.tokens[token_id]
    if not token.exists:
        text = "The chain does not know this token (yet): the node lags, or its mint is gone."
        return Refusal(token_id, text, "not_minted", wait_seconds=10.0)
    if int(token.prompt_author, 16) == 0 != int(wallet, 16):
        text = "The chain names no author of this token (yet): a part of the node lags."
        return Refusal(token_id, text, "author_unknown", wait_seconds=10.0)
    if token.prompt_author.lower() != wallet.lower():
        text = (
            f"On chain the author is {token.prompt_author}, here it is {wallet}: recover the token "
            "before it is revealed."
        )
        return Refusal(token_id, text, "author_differs", final=True)
    if token.revealed:
        text = (
            "It is revealed on chain already, by a transaction that is not ours: compare its "
            "tokenURI with the metadata here."
        )
        return Refusal(token_id, text, "already_revealed", final=True)
    return _check_mint(candidate, facts)


def _check_mint(candidate: Candidate, facts: RevealFacts) -> Refusal | None:
    token_id, block, needed = candidate.token_id, candidate.mint_block, settings.MINT_CONFIRMATIONS
    if block is None:  # found by its id, without a log: it must have existed long enough
        if token_id < facts.confirmed_next_token_id:
            return None
        text = f"It did not exist {needed - 1} blocks ago: its mint lacks confirmations."
        return Refusal(token_id, text, "unconfirmed", wait_seconds=0.5)
    confirmations = facts.head.number - block + 1
    if confirmations < needed:
        text = f"Its mint has {max(confirmations, 0)} of {needed} confirmations."
        return Refusal(token_id, text, "unconfirmed", wait_seconds=0.5)
    if facts.block_hashes.get(block) != candidate.mint_block_hash:
        text = (
            "The block of its mint is not part of the chain (any more): a reorg, or the node lags."
        )
        return Refusal(token_id, text, "reorged", wait_seconds=10.0)
    return None


# The class of a refusal by simulation; those of artefacts have their errors' classes.
WOULD_REVERT = "would_revert"
# So long a gateway that had a token's files is believed to have them: they cannot change.
VERIFIED_SECONDS = 3600
# A token that was refused this often is worth an operator's look: the log says so, at each try.
ALARM_AFTER_REFUSALS = 8


@dataclass(frozen=True)
class Waiting:
    """A ready token that is in no open batch, and since when it has been ready.

    `verified_at`: when its files, as they are now, were found right; None: not lately. `reverts`:
    how many of its transactions were mined without effect; `company`: how many tokens the smallest
    of them had, itself included.
    """

    candidate: Candidate
    ready_since: datetime
    verified_at: datetime | None = None
    reverts: int = 0
    company: int = 0
    requested: bool = False  # by an operator: it waits for no company


@dataclass(frozen=True)
class ReadyTokens:
    """The ready tokens that wait, requested ones first."""

    waiting: Sequence[Waiting] = ()
    more_wait: bool = False  # than were read
    due_in: float | None = None


def read_ready_tokens() -> ReadyTokens:
    # Files are checked ahead, so that a place in flight never waits for a gateway.
    limit = settings.BATCH_REVEAL_MAX_TOKENS * (settings.REVEAL_MAX_IN_FLIGHT + 1)
    due_in = seconds_until_due()
    requested = requested_tokens(settings.BATCH_REVEAL_MAX_TOKENS)
    first = {entry.candidate.token_id for entry in requested}
    others = waiting_tokens(limit)
    waiting = requested + [w for w in others if w.candidate.token_id not in first]
    return ReadyTokens(waiting, len(others) == limit, due_in)


# Plain SQL, since every turn asks this: the ORM needs 1 ms to build it.
_SELECT = """
    SELECT t.token_id, t.prompt_author_wallet, t.image_cid, t.metadata_cid,
           m.block_number, m.block_hash, t.status_changed_at, t.attempts, t.error_class,
           v.verified_at
    FROM tokens_s0 t LEFT JOIN mint_events m ON m.id = t.mint_event_id
    LEFT JOIN reveal_verifications v
        ON v.token_id = t.token_id
        AND (v.image_cid, v.metadata_cid) = (t.image_cid, t.metadata_cid)
        AND v.verified_at > statement_timestamp() - make_interval(secs => %s)
    WHERE t.status = 'ready'
"""
_PLACES = "SELECT FROM reveal_batch_tokens b WHERE b.token_id = t.token_id AND b.is_open"
_FREE = f"{_SELECT} AND t.held_at IS NULL AND NOT EXISTS ({_PLACES})"
_IN_BATCH = f"{_SELECT} AND t.token_id = ANY(%s) AND EXISTS ({_PLACES} AND b.batch_id = %s)"
_DUE = "AND (t.next_attempt_at IS NULL OR t.next_attempt_at <= statement_timestamp())"
_REQUESTED = "AND t.token_id IN (SELECT token_id FROM reveal_requests)"
_OLDEST_FIRST = "ORDER BY t.mint_timestamp, t.token_id"


def waiting_tokens(limit: int) -> list[Waiting]:
    """Return the ready tokens that are due, not held and in no open batch, oldest mint first."""
    return _fetch(f"{_FREE} {_DUE} {_OLDEST_FIRST} LIMIT %s", [limit])


def requested_tokens(limit: int) -> list[Waiting]:
    """Return those that an operator wants revealed now, oldest mint first."""
    found = _fetch(f"{_FREE} {_DUE} {_REQUESTED} {_OLDEST_FIRST} LIMIT %s", [limit])
    return [replace(entry, requested=True) for entry in found]


def tokens_by_id(token_ids: Iterable[int]) -> list[Candidate]:
    """Return those of these tokens that may be revealed, due or not, oldest mint first."""
    found = _fetch(f"{_FREE} AND t.token_id = ANY(%s) {_OLDEST_FIRST}", [list(token_ids)])
    return [entry.candidate for entry in found]


def _fetch(sql: str, parameters: list[Any]) -> list[Waiting]:
    with connection.cursor() as cursor:
        cursor.execute(sql, [VERIFIED_SECONDS, *parameters])
        rows = cursor.fetchall()
    reverts = _reverts([row[0] for row in rows if row[8] == "reverted"])
    # A ready token has both CIDs (a database check).
    return [
        Waiting(
            Candidate(
                token_id, wallet, image_cid or "", metadata_cid or "", block, block_hash, refusals
            ),
            ready_since,
            verified_at,
            *reverts.get(token_id, (0, 0)),
        )
        for (
            token_id,
            wallet,
            image_cid,
            metadata_cid,
            block,
            block_hash,
            ready_since,
            refusals,
            _error_class,
            verified_at,
        ) in rows
    ]


def _reverts(token_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Return how often each was mined without effect, and in how small a company."""
    if not token_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT b.token_id, count(*), min(cardinality(x.token_ids)) "
            "FROM reveal_batch_tokens b JOIN reveal_transactions x USING (batch_id) "
            "WHERE b.token_id = ANY(%s) AND x.status = 'reverted' GROUP BY b.token_id",
            [list(token_ids)],
        )
        return {token_id: (times, company) for token_id, times, company in cursor.fetchall()}


def candidates_of(row: RevealTransaction) -> list[Candidate]:
    """Return the tokens of an open transaction that are still what was signed.

    A batch that was opened again may have lost some: to another batch, or to a repair.
    """
    signed = dict(zip(row.token_ids, row.metadata_uris, strict=True))
    found = _fetch(_IN_BATCH, [row.token_ids, row.batch_id])
    candidates = [entry.candidate for entry in found]
    return [c for c in candidates if c.metadata_uri == signed[c.token_id]]


def note_verified(candidates: Sequence[Candidate]) -> None:
    """Note that the files of these tokens were found right, if they still are what they have."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO reveal_verifications (token_id, image_cid, metadata_cid, verified_at)
            SELECT t.token_id, t.image_cid, t.metadata_cid, clock_timestamp()
            FROM tokens_s0 t
            JOIN unnest(%s::bigint[], %s::text[], %s::text[])
                AS v(token_id, image_cid, metadata_cid)
                USING (token_id, image_cid, metadata_cid)
            FOR KEY SHARE OF t
            ON CONFLICT (token_id) DO UPDATE SET image_cid = EXCLUDED.image_cid,
                metadata_cid = EXCLUDED.metadata_cid, verified_at = EXCLUDED.verified_at
            """,
            [
                [c.token_id for c in candidates],
                [c.image_cid for c in candidates],
                [c.metadata_cid for c in candidates],
            ],
        )


def seconds_until_due() -> float | None:
    """Return the seconds until the next ready token that waits may be tried, None if none does."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXTRACT(EPOCH FROM min(next_attempt_at) - clock_timestamp()) FROM tokens_s0 "
            "WHERE status = 'ready' AND held_at IS NULL AND next_attempt_at > clock_timestamp()"
        )
        row = cursor.fetchone()
    return None if row is None or row[0] is None else max(0.0, float(row[0]))


def set_aside(refusals: Sequence[Refusal], *, actor: str) -> None:
    """Let turned-away tokens wait, or fail those that waiting cannot mend."""
    if not refusals:
        return
    final = [
        Move(
            token_id=refusal.token_id,
            reason=refusal.reason,
            fields={"generation_error": refusal.reason, "error_class": refusal.error_class},
        )
        for refusal in refusals
        if refusal.final
    ]
    waiting = [refusal for refusal in refusals if not refusal.final]
    with transaction.atomic():
        if final:
            move_tokens(final, source=TokenStatus.READY, target=TokenStatus.FAILED, actor=actor)
        if waiting:
            postpone_reveals(waiting, actor=actor)
    for refusal in refusals:
        logger.log(
            logging.ERROR if refusal.final or refusal.alarming else logging.WARNING,
            "reveal_refused",
            token_id=refusal.token_id,
            error_class=refusal.error_class,
            final=refusal.final,
            reason=refusal.reason,
        )
