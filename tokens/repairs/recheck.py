"""Ask the chain about tokens at once, instead of waiting for the next proof."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from glisk.clients.chain import ChainClient, OnChainToken
from glisk.database import undone_if
from tokens.models import MintEvent, Token
from tokens.recovery.adoption import FACTS_AT_ONCE, adopt
from tokens.repairs.results import RepairResult, repair_each
from tokens.states import TokenStatus


def recheck_tokens(
    *, token_ids: Iterable[int], actor: str, dry_run: bool = False
) -> list[RepairResult]:
    """Compare tokens with the contract; adopt what is revealed there and not here.

    `done` means that both agree now. Nothing else is changed: what contradicts is named, with
    what to do. A dry run takes back what it did. Raises the errors of the reader.
    """
    reader, wanted = ChainClient.from_settings(), sorted(set(token_ids))
    results: list[RepairResult] = []
    for start in range(0, len(wanted), FACTS_AT_ONCE):
        part = wanted[start : start + FACTS_AT_ONCE]
        step = partial(_compare, reader.tokens(part), actor)  # asked before any lock
        with undone_if(dry_run):
            results += repair_each(part, step)
    return results


def _compare(
    facts: Mapping[int, OnChainToken], actor: str, tokens: Sequence[Token]
) -> list[RepairResult]:
    return [RepairResult(token.pk, *_judge(token, facts[token.pk], actor)) for token in tokens]


def _judge(token: Token, chain: OnChainToken, actor: str) -> tuple[bool, str]:
    if not chain.exists:
        return False, (
            "The chain does not know it: the node lags, or a reorg took its mint. The worker "
            "withdraws it then."
        )
    if chain.prompt_author != token.prompt_author_wallet.lower():
        if token.mint_event_id is not None:  # the next look at the chain asks about the mint
            MintEvent.objects.filter(pk=token.mint_event_id).unsettle()
        return False, (
            f"On chain the author is {chain.prompt_author}, here {token.prompt_author_wallet}: "
            "the worker looks at its mint again."
        )
    if token.status == TokenStatus.REVEALED:
        if not chain.revealed:
            return False, "It is revealed here, but not on chain: look at the transaction."
        if chain.uri != token.token_uri:
            return False, f"On chain its URI is {chain.uri[:200]!r}, which is not ours."
        return True, "Revealed, here and on chain."
    if chain.revealed:
        if adopt({token.pk: chain}, actor=actor):
            return True, f"Adopted as revealed with {chain.uri[:200]!r}."
        return False, "It is revealed on chain, and a transaction of ours waits for its receipt."
    more = " It may be retried." if token.status == TokenStatus.FAILED else ""
    return True, f"Minted by this author and not revealed.{more}"
