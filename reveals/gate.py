"""The gate before a reveal: what a token must prove, since nothing can be taken back.

Artefacts are fetched from a gateway by CID and hashed again, once per token. What the chain
says (minted, author, unrevealed, confirmations, canonical block) is read for the whole batch
as of one block, in two round trips, right before signing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.conf import settings

from glisk.clients.chain import ChainClient, RevealFacts
from glisk.clients.http import loads
from glisk.clients.ipfs import GatewayClient
from glisk.errors import AccountError, ArtefactError, ProviderError
from tokens.transitions.claims import Refusal

# What the chain said is believed for so long: later, no nonce is reserved upon it, and before bytes
# go out it is asked again. Nor are bytes sent so long after their claim: this process has slept.
FACTS_LAST_SECONDS = 30.0
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
