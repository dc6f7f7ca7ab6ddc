"""Signatures of smart wallets, judged by their own contracts (ERC-1271, ERC-6492).

The universal validator of ERC-6492 (https://eips.ethereum.org/EIPS/eip-6492) runs inside
`eth_call` as if it were being deployed: nothing is written anywhere, and a wallet that does not
exist yet is made by its factory for the length of the call. Its bytecode is the one that npm's
viem and ox export (MIT; taken from ox 1.8.3): it answers with one byte, 0x01 or 0x00.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import Final

import structlog

from glisk.clients.rpc import VENDOR, Call, RevertError, RpcClient, RpcError
from glisk.errors import ProviderError, TransientError

logger = structlog.get_logger(__name__)

# Ends every signature of a wallet that may still have to be deployed.
ERC6492_SUFFIX: Final = bytes.fromhex("6492" * 16)
# Deploying a wallet and checking a passkey in Solidity takes less than 2 million.
_GAS: Final = hex(10_000_000)
# Anybody but the zero address, the default: some wallets take it for a dry run and accept all.
_CALLER: Final = "0x000000000000000000000000000000000000dEaD"
_VALIDATOR_FILE: Final = Path(__file__).with_name("erc6492_validator.hex")


class SmartWalletClient:
    """Asks a chain whether a wallet accepts a signature. Thread-safe."""

    def __init__(self, rpc: RpcClient) -> None:
        self._rpc = rpc

    def accepts(self, *, wallet: str, digest: bytes, signature: bytes) -> bool:
        """Say whether the wallet's contract takes the signature; one round trip.

        A wallet without a contract is refused, unless the signature names the factory that makes
        it: the validator would recover a plain key, with fewer checks than ours.

        Raises:
            ProviderError: the node did not answer, or refuses our key.
        """
        question = {
            "from": _CALLER,
            "data": _call_data(wallet, digest, signature),
            "gas": _GAS,
        }
        calls: list[Call] = [
            ("eth_getCode", [wallet, "latest"]),
            ("eth_call", [question, "latest"]),
        ]
        code, verdict = self._rpc.batch(calls)
        if isinstance(code, ProviderError):
            raise code
        if not isinstance(code, str):
            raise TransientError("chain: eth_getCode answered no text", vendor=VENDOR)
        if len(code) <= len("0x") and not signature.endswith(ERC6492_SUFFIX):
            return False
        if isinstance(verdict, RevertError | RpcError):
            # The wallet's own code may do anything: revert, burn all gas, jump nowhere.
            logger.info("smart_wallet_refused", wallet=wallet, error=str(verdict))
            return False
        if isinstance(verdict, ProviderError):
            raise verdict
        return bool(verdict == "0x01")


@lru_cache(maxsize=4)
def client_at(rpc_url: str) -> SmartWalletClient:
    """Return the process's client of a node, with the timeouts of the settings."""
    return SmartWalletClient(RpcClient.from_settings(rpc_url))


@cache
def _validator() -> str:
    return _VALIDATOR_FILE.read_text(encoding="ascii").strip()


def _call_data(wallet: str, digest: bytes, signature: bytes) -> str:
    from eth_abi.abi import encode

    arguments = encode(["address", "bytes32", "bytes"], [wallet, digest, signature])
    return _validator() + arguments.hex()
