"""Signatures of smart wallets, judged by their own contracts (ERC-1271, ERC-6492).

The universal validator of ERC-6492 (https://eips.ethereum.org/EIPS/eip-6492) runs inside
`eth_call` as if it were being deployed: nothing is written anywhere, and a wallet that does not
exist yet is made by its factory for the length of the call. Its bytecode is the one that npm's
viem and ox export (MIT; taken from ox 1.8.3): it answers with one byte, 0x01 or 0x00.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Final

import structlog

from glisk.clients.chain import VENDOR, RevertError, RpcClient, RpcError
from glisk.errors import TransientError

logger = structlog.get_logger(__name__)

# Ends every signature of a wallet that may still have to be deployed.
ERC6492_SUFFIX: Final = bytes.fromhex("6492" * 16)
# Deploying a wallet and checking a passkey in Solidity takes less than 2 million.
_GAS: Final = hex(10_000_000)
# Anybody but the zero address, the default: some wallets take it for a dry run and accept all.
_CALLER: Final = "0x000000000000000000000000000000000000dEaD"
_NOBODY: Final = "0x" + "00" * 20
# geth, reth "out of gas", anvil "OutOfGas"; Nethermind has a code for whatever ends in the EVM.
_OUT_OF_GAS: Final = re.compile(r"out[ _-]?of[ _-]?gas", re.IGNORECASE)
_EVM_FAILED: Final = -32015
_VERDICTS: Final = {"0x01": True, "0x00": False}
_VALIDATOR: Final = Path(__file__).with_name("erc6492_validator.hex").read_text("ascii").strip()


class SmartWalletClient:
    """Asks a chain whether a wallet accepts a signature. Thread-safe."""

    def __init__(self, rpc: RpcClient) -> None:
        self._rpc = rpc

    def has_contract(self, wallet: str) -> bool:
        """Say whether there is a contract at this address; may raise a `ProviderError`."""
        code = self._rpc.call("eth_getCode", wallet, "latest")
        if not isinstance(code, str):
            raise TransientError("chain: eth_getCode answered no text", vendor=VENDOR)
        return len(code) > len("0x")

    def accepts(self, *, wallet: str, digest: bytes, signature: bytes) -> bool:
        """Say whether the wallet's contract takes the signature.

        Not to be asked of a wallet without a contract, unless the signature names the factory
        that makes it: the validator would recover a plain key, with fewer checks than ours.
        Raises a `ProviderError` if the node does not answer or cannot run the call.
        """
        data = _call_data(wallet, digest, signature)
        try:
            verdict = self._rpc.call(
                "eth_call", {"from": _CALLER, "data": data, "gas": _GAS}, "latest"
            )
        except (RevertError, RpcError) as error:
            # The wallet runs inside the validator: its code may revert, burn all gas, jump
            # nowhere. Anything else is the node's own fault.
            if isinstance(error, RpcError) and not (
                _OUT_OF_GAS.search(error.said) or error.rpc_code == _EVM_FAILED
            ):
                raise
            logger.info("smart_wallet_refused", wallet=wallet, error=str(error))
            return False
        if verdict not in _VERDICTS:
            raise TransientError("chain: the validator's answer is none", vendor=VENDOR)
        return _VERDICTS[verdict]


@lru_cache(maxsize=4)
def client_at(rpc_url: str) -> SmartWalletClient:
    """Return the process's client of a node."""
    return SmartWalletClient(RpcClient(rpc_url))


def _call_data(wallet: str, digest: bytes, signature: bytes) -> str:
    from eth_abi.abi import encode

    if len(signature) < len(ERC6492_SUFFIX):
        # The validator looks for the suffix without asking for the length. In the wrapping it
        # hands the signature on as it is; the factory that it calls before is nobody.
        wrapped = encode(["address", "bytes", "bytes"], [_NOBODY, b"", signature])
        signature = wrapped + ERC6492_SUFFIX
    arguments = encode(["address", "bytes32", "bytes"], [wallet, digest, signature])
    return _VALIDATOR + arguments.hex()
