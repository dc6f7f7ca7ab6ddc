"""What the demo chain tells of mints and reveals."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mint:
    """One BatchMinted log."""

    tx_hash: str
    log_index: int
    block_number: int
    block_hash: str
    block_timestamp: int
    minter: str
    prompt_author: str
    start_token_id: int
    quantity: int
    total_paid_wei: int


@dataclass(frozen=True)
class Reveal:
    """One successful revealTokens transaction."""

    tx_hash: str
    block_number: int
    block_timestamp: int
    sender: str
    token_ids: tuple[int, ...]
    uris: tuple[str, ...]
    gas_used: int
    gas_limit: int
    effective_gas_price_wei: int
