"""Tokens taken from what the contract says of them, where no log could be had.

They have no mint event: minter and time are stand-ins (the owner of now, the time of now) until
their log is found and registration completes them. The contract is asked at a block that has
MINT_CONFIRMATIONS, since nothing else would hold such a token back from its reveal.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from django.conf import settings
from django.db import connection, transaction

from authors.models import Author
from glisk.clients.mint_reader import BlockFacts, MintReader, OnChainToken
from glisk.engine.notify import notify
from glisk.fields import normalise_address
from tokens.recovery.adoption import adopt_new
from tokens.states import TokenStatus
from tokens.transitions import PIPELINE_CHANNEL

ACTOR = "contract"


def register_from_contract(
    reader: MintReader, token_ids: Sequence[int], head: BlockFacts
) -> tuple[list[int], list[int]]:
    """Create the tokens that exist for long enough; return the ids created and those adopted.

    All by one batch of calls. Raises the errors of the reader.
    """
    confirmed = max(0, head.number - int(settings.MINT_CONFIRMATIONS) + 1)
    tokens = reader.tokens(token_ids, block=confirmed)
    return _register([token for token in tokens.values() if token.exists], head)


def _register(facts: Sequence[OnChainToken], head: BlockFacts) -> tuple[list[int], list[int]]:
    if not facts:
        return [], []
    with transaction.atomic():
        with connection.cursor() as cursor:
            # As registration does by its insert: an author who registers now waits for us, and
            # then finds these tokens (tokens.minting.authorship).
            cursor.execute("LOCK TABLE mint_events IN ROW EXCLUSIVE MODE")
        created = _create(facts, head)
        revealed = {t.token_id: t for t in facts if t.revealed and t.token_id in created}
        adopted = adopt_new(revealed, actor=ACTOR)
        if created:
            notify(PIPELINE_CHANNEL)
    return sorted(created), sorted(adopted)


def _create(facts: Sequence[OnChainToken], head: BlockFacts) -> set[int]:
    wallets = {token.token_id: normalise_address(token.prompt_author) for token in facts}
    default_wallet = settings.GLISK_DEFAULT_AUTHOR_WALLET
    authors = Author.objects.by_wallets([default_wallet, *wallets.values()])
    default = authors.get(default_wallet.lower()) or Author.objects.default()
    default_prompt = default.prompt_text if default.has_prompt else settings.DEFAULT_PROMPT
    owners = [authors.get(wallets[token.token_id].lower(), default) for token in facts]
    sql = """
        WITH created AS (
            INSERT INTO tokens_s0
                (token_id, author_id, prompt_author_wallet, minter_address, mint_timestamp, prompt,
                 status, status_changed_at, generation_attempts, fallback_used, error_class,
                 error_log, attempts, created_at, updated_at)
            SELECT v.token_id, v.author_id, v.wallet, v.minter, %s, v.prompt, %s,
                   clock_timestamp(), 0, false, '', '[]', 0, clock_timestamp(), clock_timestamp()
            FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[])
                AS v(token_id, author_id, wallet, minter, prompt)
            ORDER BY v.token_id
            ON CONFLICT (token_id) DO NOTHING
            RETURNING token_id
        ), timeline AS (
            INSERT INTO token_transitions
                (token_id, from_status, to_status, reason, attempt, actor, detail, created_at)
            SELECT token_id, '', %s, 'found in the contract, without a log', 0, %s, '{}',
                   clock_timestamp()
            FROM created
        )
        SELECT token_id FROM created
    """
    status = TokenStatus.DETECTED.value
    with connection.cursor() as cursor:
        cursor.execute(
            sql,
            [
                datetime.fromtimestamp(head.timestamp, tz=UTC),
                status,
                [token.token_id for token in facts],
                [author.pk for author in owners],
                list(wallets.values()),
                [normalise_address(token.owner) for token in facts],
                [author.prompt_text if author.has_prompt else default_prompt for author in owners],
                status,
                ACTOR,
            ],
        )
        return {row[0] for row in cursor.fetchall()}
