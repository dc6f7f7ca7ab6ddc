"""The keeper's wallet: signs, and shows its key to nobody."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from eth_account import Account
from eth_account.signers.local import LocalAccount

from reveals.keeper_state import keeper_state


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
    def from_settings(cls) -> "Keeper":
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
