"""The keeper's wallet, which signs and shows its key to nobody, and what was last seen of it.

No page asks a node: the workers leave what they saw in `system_state` (keeper_watch).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from django.conf import settings
from eth_account import Account
from eth_account.signers.local import LocalAccount

from glisk.models import SystemState

KEY = "keeper"
OK, LOW, EMPTY, BLOCKED, UNKNOWN = "ok", "low", "empty", "blocked", "unknown"


def keeper_address() -> str:
    """Return the keeper's address, also where its key cannot be read; empty if it is unknown.

    Without KEEPER_ADDRESS it is what the worker has left of its last look.
    """
    if settings.KEEPER_PRIVATE_KEY:
        return Keeper.from_settings().address
    return settings.KEEPER_ADDRESS or keeper_state().address


@dataclass(frozen=True)
class SignedTransaction:
    tx_hash: str
    raw: bytes


class Keeper:
    """Signs type 2 (EIP-1559) transactions to the contract with the key that the worker has."""

    def __init__(self, private_key: str) -> None:
        self._account: LocalAccount = Account.from_key(private_key)
        self.address = str(self._account.address)

    def __repr__(self) -> str:
        return f"<Keeper {self.address}>"

    @classmethod
    def from_settings(cls) -> Keeper:
        return cls(settings.KEEPER_PRIVATE_KEY)

    def sign(
        self,
        *,
        nonce: int,
        data: str,
        gas_limit: int,
        max_fee_per_gas_wei: int,
        max_priority_fee_per_gas_wei: int,
    ) -> SignedTransaction:
        """Sign one call of the contract. Deterministic: equal input, equal bytes (RFC 6979)."""
        transaction: dict[str, Any] = {
            "type": 2,
            "chainId": settings.CHAIN_ID,
            "nonce": nonce,
            "to": settings.GLISK_NFT_CONTRACT_ADDRESS,
            "value": 0,
            "data": data,
            "gas": gas_limit,
            "maxFeePerGas": max_fee_per_gas_wei,
            "maxPriorityFeePerGas": max_priority_fee_per_gas_wei,
        }
        signed = self._account.sign_transaction(transaction)
        return SignedTransaction(tx_hash=signed.hash.to_0x_hex(), raw=bytes(signed.raw_transaction))


@dataclass(frozen=True)
class KeeperState:
    """The keeper at `checked_at`; amounts in wei, times in ISO 8601.

    `status`: ok; low (warns); empty (reveals pause until a top-up); blocked (`reason` says by
    what: wrong chain, no contract, no role, gas price); unknown (nobody has looked yet).
    """

    status: str = UNKNOWN
    reason: str = ""
    address: str = ""
    chain_id: int = 0
    balance_wei: int = 0
    cost_per_token_wei: int = 0
    cost_is_measured: bool = False
    reveals_left: int = 0
    gas_price_wei: int = 0  # base fee and tip that a reveal would pay now
    gas_price_high_since: str | None = None
    checked_at: str | None = None
    unreachable: str = ""  # why the last look failed; the rest is from the one before

    @classmethod
    def parse(cls, value: Any) -> KeeperState:
        """Read a stored state; what is not understood counts as absent."""
        known = value if isinstance(value, dict) else {}
        return cls(**{f.name: known[f.name] for f in fields(cls) if f.name in known})


def keeper_state() -> KeeperState:
    """Return what was last seen of the keeper; asks the database only."""
    row = SystemState.objects.filter(state_key=KEY).values_list("state_value", flat=True).first()
    return KeeperState.parse(row)
