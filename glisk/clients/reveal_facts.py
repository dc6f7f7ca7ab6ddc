"""Everything that the chain says about a batch before it is signed, as of one block.

The node behind an RPC URL is often several: each member of a batch may be answered by another
one. So the newest block is asked for first, and every fact is then asked of just that block, by
its hash (EIP-1898): a node that does not know the block, or that has another one in its place,
says so instead of answering for a block of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from glisk.clients import chain_answers as answers
from glisk.clients.chain_answers import Head
from glisk.clients.contract import ADMIN_ROLE, KEEPER_ROLE, SELECTORS, word
from glisk.clients.rpc import VENDOR, Call, RpcClient, RpcError
from glisk.errors import TransientError

# Before any token: chain id, and what holds at the block.
_FIXED: Final = 9


@dataclass(frozen=True)
class Setup:
    """What must hold before anything is sent."""

    chain_id: int
    has_code: bool
    is_keeper: bool


@dataclass(frozen=True)
class TokenFacts:
    token_id: int
    exists: bool
    prompt_author: str
    revealed: bool


@dataclass(frozen=True)
class RevealFacts:
    """What the chain says at the block `head`."""

    head: Head
    setup: Setup
    tokens: dict[int, TokenFacts]
    block_hashes: dict[int, str | None]  # of the mints' blocks
    transaction_count: int  # of the keeper, mined
    balance_wei: int
    # The contract's nextTokenId when `confirmations` blocks lay above: ids below are settled.
    confirmed_next_token_id: int = 0


def read_reveal_facts(
    rpc: RpcClient,
    *,
    contract: str,
    keeper: str,
    token_ids: Sequence[int],
    mint_blocks: Sequence[int],
    confirmations: int = 1,
) -> RevealFacts:
    """Read all that the gate and the nonce need, in two round trips whatever the number of tokens.

    Raises `TransientError` if the node does not answer or lost the block in between,
    `ProviderError` if it refuses.
    """
    head = answers.head(rpc.call("eth_getBlockByNumber", "latest", False))
    # requireCanonical: the state of a block that a reorg took away meanwhile is no answer.
    block = {"blockHash": head.block_hash, "requireCanonical": True}
    settled = hex(max(0, head.number - confirmations + 1))

    def call(function: str, arguments: str = "", at: Any = block) -> Call:
        data = SELECTORS[function] + arguments
        return ("eth_call", [{"to": contract, "data": data}, at])

    calls: list[Call] = [
        ("eth_chainId", []),
        ("eth_getCode", [contract, block]),
        call("hasRole", KEEPER_ROLE + word(int(keeper, 16))),
        call("hasRole", ADMIN_ROLE + word(int(keeper, 16))),
        ("eth_getTransactionCount", [keeper, block]),
        ("eth_getBalance", [keeper, block]),
        call("nextTokenId"),
        call("nextTokenId", at=settled),
        # By its number, as the mints' blocks below: whether the two ways lead to one chain.
        ("eth_getBlockByNumber", [hex(head.number), False]),
    ]
    calls += [call("tokenPromptAuthor", word(token_id)) for token_id in token_ids]
    calls += [call("isRevealed", word(token_id)) for token_id in token_ids]
    calls += [("eth_getBlockByNumber", [hex(number), False]) for number in mint_blocks]
    results = rpc.batch(calls)
    chain_id, code = answers.number(answers.ok(results[0])), _pinned(results[1])
    has_code = isinstance(code, str) and len(code) > len("0x")
    if not has_code:  # every call to it would answer 0x
        return RevealFacts(head, Setup(chain_id, False, False), {}, {}, 0, 0)
    values = [_pinned(result) for result in results]
    if answers.block_hash(values[8]) != head.block_hash:
        raise _lost_block("another block has its number now")
    count = len(token_ids)
    authors = values[_FIXED : _FIXED + count]
    flags = values[_FIXED + count : _FIXED + 2 * count]
    blocks = values[_FIXED + 2 * count :]
    next_token_id = answers.number(values[6])
    return RevealFacts(
        head=head,
        setup=Setup(chain_id, True, any([answers.number(values[2]), answers.number(values[3])])),
        tokens={
            token_id: TokenFacts(
                token_id=token_id,
                exists=1 <= token_id < next_token_id,
                prompt_author=answers.address(author),
                revealed=bool(answers.number(flag)),
            )
            for token_id, author, flag in zip(token_ids, authors, flags, strict=True)
        },
        block_hashes={
            number: answers.block_hash(block)
            for number, block in zip(mint_blocks, blocks, strict=True)
        },
        transaction_count=answers.number(values[4]),
        balance_wei=answers.number(values[5]),
        confirmed_next_token_id=answers.number(values[7]),
    )


def _pinned(result: Any) -> Any:
    """Return a result; a refusal to answer for our block passes by itself.

    The nodes say it in many ways ("header not found", "block not found", "hash is not currently
    canonical", "missing trie node"); nothing else in these calls can be refused for good.
    """
    if isinstance(result, RpcError):
        raise _lost_block(result.rpc_message)
    return answers.ok(result)


def _lost_block(why: str) -> TransientError:
    return TransientError(
        f"chain: the node does not stand by the block that it named a moment ago ({why}): it "
        "lags, or there was a reorg. It is asked again.",
        vendor=VENDOR,
        code="lost_block",
    )
