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
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction

from glisk.clients.chain import ChainClient, RevealFacts
from glisk.clients.ipfs import GatewayClient
from glisk.errors import AccountError, ArtefactError, ProviderError
from glisk.foreign_json import loads
from reveals.models import RevealTransaction
from tokens.states import TokenStatus
from tokens.transitions.claims import Refusal, postpone_reveals, seconds_until_next_attempt
from tokens.transitions.status import Move, move_tokens

logger = structlog.get_logger(__name__)

# The class of a refusal by simulation; those of artefacts have their errors' classes.
WOULD_REVERT = "would_revert"
# So long a gateway that had a token's files is believed to have them: they cannot change.
VERIFIED_SECONDS = 3600
_METADATA_MAX_BYTES = 100_000
_NUMBER_AT_END = re.compile(r"#(\d{1,19})", re.ASCII)


class ChainSetupError(AccountError):
    """The node, the contract or the keeper's role is not what it has to be: nothing is sent."""

    error_class = "chain_setup"

    def __init__(self, problem: str) -> None:
        super().__init__(f"chain: {problem}. Reveals wait.", vendor="chain")


@dataclass(frozen=True)
class Candidate:
    """A ready token as the database has it, since when it has been ready, and what is known of it.

    `refusals`: how often it was refused in this state. `verified_at`: when its files, as they are
    now, were found right; None: not lately. `reverts`: how many of its transactions were mined
    without effect; `company`: how many tokens the smallest of them had, itself included.
    """

    token_id: int
    prompt_author_wallet: str
    image_cid: str
    metadata_cid: str
    ready_since: datetime
    mint_block: int | None = None
    mint_block_hash: str | None = None
    refusals: int = 0
    verified_at: datetime | None = None
    reverts: int = 0
    company: int = 0
    requested: bool = False  # by an operator: it waits for no company

    @property
    def metadata_uri(self) -> str:
        return f"ipfs://{self.metadata_cid}"


# -- which tokens wait ----------------------------------------------------------------------


@dataclass(frozen=True)
class ReadyTokens:
    """The ready tokens that are due and in no open batch, requested ones first."""

    waiting: Sequence[Candidate] = ()
    more_wait: bool = False  # than were read
    due_in: float | None = None  # seconds until the next of the others is due


def read_ready_tokens() -> ReadyTokens:
    # Files are checked ahead, so that a place in flight never waits for a gateway.
    limit = settings.BATCH_REVEAL_MAX_TOKENS * (settings.REVEAL_MAX_IN_FLIGHT + 1)
    due_in = seconds_until_next_attempt(TokenStatus.READY)
    requested = waiting_tokens(settings.BATCH_REVEAL_MAX_TOKENS, requested=True)
    others = waiting_tokens(limit)
    first = {candidate.token_id for candidate in requested}
    waiting = requested + [candidate for candidate in others if candidate.token_id not in first]
    return ReadyTokens(waiting, len(others) == limit, due_in)


# Plain SQL, since every turn asks this: the ORM needs 1 ms to build it. A ready token has both
# CIDs (a database check).
_SELECT = """
    SELECT t.token_id, t.prompt_author_wallet, COALESCE(t.image_cid, ''),
           COALESCE(t.metadata_cid, ''), t.status_changed_at, m.block_number, m.block_hash,
           t.attempts, v.verified_at, r.reverts, r.company
    FROM tokens_s0 t LEFT JOIN mint_events m ON m.id = t.mint_event_id
    LEFT JOIN reveal_verifications v
        ON v.token_id = t.token_id
        AND (v.image_cid, v.metadata_cid) = (t.image_cid, t.metadata_cid)
        AND v.verified_at > statement_timestamp() - make_interval(secs => %s)
    CROSS JOIN LATERAL (
        SELECT count(*) AS reverts, COALESCE(min(cardinality(x.token_ids)), 0) AS company
        FROM reveal_batch_tokens b JOIN reveal_transactions x USING (batch_id)
        WHERE t.error_class = 'reverted' AND b.token_id = t.token_id AND x.status = 'reverted'
    ) r
    WHERE t.status = 'ready'
"""
_PLACES = "SELECT FROM reveal_batch_tokens b WHERE b.token_id = t.token_id AND b.is_open"
_FREE = f"AND t.held_at IS NULL AND NOT EXISTS ({_PLACES})"
_DUE = f"{_FREE} AND (t.next_attempt_at IS NULL OR t.next_attempt_at <= statement_timestamp())"


def waiting_tokens(limit: int, *, requested: bool = False) -> list[Candidate]:
    """Return the ready tokens that are due, not held and in no open batch, oldest mint first.

    `requested`: only those that an operator wants revealed now.
    """
    only = "AND t.token_id IN (SELECT token_id FROM reveal_requests)" if requested else ""
    found = _fetch(f"{_DUE} {only}", limit=limit)
    return [replace(candidate, requested=requested) for candidate in found]


def tokens_by_id(token_ids: Iterable[int]) -> list[Candidate]:
    """Return those of these tokens that may be revealed, due or not, oldest mint first."""
    return _fetch(f"{_FREE} AND t.token_id = ANY(%s)", [list(token_ids)])


def candidates_of(row: RevealTransaction) -> list[Candidate]:
    """Return the tokens of an open transaction that are still what was signed.

    A batch that was opened again may have lost some: to another batch, or to a repair.
    """
    signed = dict(zip(row.token_ids, row.metadata_uris, strict=True))
    in_batch = f"AND t.token_id = ANY(%s) AND EXISTS ({_PLACES} AND b.batch_id = %s)"
    found = _fetch(in_batch, [row.token_ids, row.batch_id])
    return [c for c in found if c.metadata_uri == signed[c.token_id]]


def _fetch(
    condition: str, parameters: Sequence[Any] = (), *, limit: int | None = None
) -> list[Candidate]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_SELECT} {condition} ORDER BY t.mint_timestamp, t.token_id LIMIT %s",
            [VERIFIED_SECONDS, *parameters, limit],
        )
        return [Candidate(*row) for row in cursor.fetchall()]


def note_verified(candidates: Sequence[Candidate]) -> None:
    """Note that the files of these tokens were found right, if they still are what they have."""
    files = [(c.token_id, c.image_cid, c.metadata_cid) for c in candidates]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO reveal_verifications (token_id, image_cid, metadata_cid, verified_at)
            SELECT token_id, image_cid, metadata_cid, clock_timestamp()
            FROM tokens_s0 t
            JOIN unnest(%s::bigint[], %s::text[], %s::text[])
                AS v(token_id, image_cid, metadata_cid)
                USING (token_id, image_cid, metadata_cid)
            FOR KEY SHARE OF t
            ON CONFLICT (token_id) DO UPDATE SET image_cid = EXCLUDED.image_cid,
                metadata_cid = EXCLUDED.metadata_cid, verified_at = EXCLUDED.verified_at
            """,
            [list(column) for column in zip(*files, strict=True)],
        )


# -- what the gateway serves ----------------------------------------------------------------


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
        document = None
    if not isinstance(document, dict):
        return "the metadata is not a JSON object"
    number = _NUMBER_AT_END.fullmatch(str(document.get("name")).rpartition(" ")[2])
    if number is None or int(number[1]) != token_id:
        return f"the metadata's name is not that of token {token_id}"
    if document.get("image") != f"ipfs://{image_cid}":
        return "the metadata points to another image"
    if not isinstance(document.get("attributes"), list):
        return "the metadata has no list of attributes"
    return None


def is_final(error: ProviderError) -> bool:
    """Tell whether an artefact is wrong for good.

    Metadata that was proved by its CID and says something wrong is, and so is a stored CID that
    is none. Bytes that are not those of the CID say more of the gateway than of the token: a
    page of a proxy or of a maintenance comes with status 200 as well.
    """
    return isinstance(error, ArtefactError) and error.code in ("metadata", "bad_cid")


# -- what the chain says --------------------------------------------------------------------


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
        raise ChainSetupError(
            f"there is no contract at {settings.GLISK_NFT_CONTRACT_ADDRESS}: check "
            "GLISK_NFT_CONTRACT_ADDRESS and NETWORK"
        )
    if not facts.is_keeper:
        raise ChainSetupError(f"{keeper} has no KEEPER_ROLE: let the contract's admin grant it")


def check_chain(chain_id: int) -> None:
    """Raise `ChainSetupError` for another chain than that of NETWORK."""
    if chain_id != settings.CHAIN_ID:
        raise ChainSetupError(
            f"the node is on chain {chain_id}, but NETWORK is {settings.NETWORK} "
            f"({settings.CHAIN_ID}): check RPC_URL"
        )


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
        text = "The block of its mint is not part of the chain: a reorg, or the node lags."
        return Refusal(token_id, text, "reorged", wait_seconds=10.0)
    return None


# -- those turned away ----------------------------------------------------------------------


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
