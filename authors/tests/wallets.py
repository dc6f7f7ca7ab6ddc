"""Wallets that sign, plain and smart, and requests as the frontend makes them."""

import json
from pathlib import Path
from typing import Any

from django.test import Client
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32
from web3.contract.contract import Contract

from sandbox.chain import DemoChain

# The key of the vector that wallets agree on, and what it signs.
AUTHOR: LocalAccount = Account.from_key("0x" + "11" * 32)
OTHER: LocalAccount = Account.from_key("0x" + "22" * 32)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_ARTEFACTS = Path(__file__).resolve().parents[2] / "sandbox" / "tests" / "data"
_GAS = 3_000_000


def sign(account: LocalAccount, message: str) -> str:
    return "0x" + account.sign_message(encode_defunct(text=message)).signature.hex()


def sign_digest(account: LocalAccount, digest: bytes) -> bytes:
    return bytes(account.unsafe_sign_hash(Hash32(digest)).signature)


def wrapped(factory: str, calldata: str, signature: str) -> str:
    """Return a signature in the form of ERC-6492."""
    inner = encode(
        ["address", "bytes", "bytes"],
        [factory, bytes.fromhex(calldata[2:]), bytes.fromhex(signature[2:])],
    )
    return "0x" + inner.hex() + "6492" * 16


def changed(
    signature: str, *, r: int | None = None, s: int | None = None, v: int | None = None
) -> str:
    """Return the signature with some of its parts replaced."""
    raw = bytes.fromhex(signature[2:])
    r_bytes = raw[:32] if r is None else r.to_bytes(32, "big")
    s_bytes = raw[32:64] if s is None else s.to_bytes(32, "big")
    return "0x" + (r_bytes + s_bytes + bytes([raw[64] if v is None else v])).hex()


def high_s_twin(signature: str) -> str:
    raw = bytes.fromhex(signature[2:])
    s = int.from_bytes(raw[32:64], "big")
    return changed(signature, s=ORDER - s, v=55 - raw[64])


class WalletChain:
    """A node with the contracts of sandbox/contracts/TestWallets.sol."""

    def __init__(self, rpc_url: str) -> None:
        self.rpc_url = rpc_url
        self.chain = DemoChain(rpc_url)
        self.factory = self.deploy("WalletFactory")
        self._salt = 0

    def deploy(self, name: str, *arguments: Any) -> Contract:
        artefact = json.loads((_ARTEFACTS / f"{name}.json").read_text())
        kinds = [
            item["type"]
            for entry in artefact["abi"]
            if entry["type"] == "constructor"
            for item in entry["inputs"]
        ]
        data = artefact["bytecode"] + encode(kinds, arguments).hex()
        receipt = self.chain.wait(self.chain.send_raw(1, data=data, gas=_GAS))
        assert receipt["contractAddress"] is not None
        return self._at(receipt["contractAddress"], artefact["abi"])

    def _at(self, address: str, abi: Any) -> Contract:
        checksummed = self.chain.w3.to_checksum_address(address)
        contract: Contract = self.chain.w3.eth.contract(address=checksummed, abi=abi)
        return contract

    def install(self, name: str, address: str) -> Contract:
        """Put a contract's code at a given address."""
        deployed = self.deploy(name)
        code = self.chain.w3.eth.get_code(deployed.address).to_0x_hex()
        self.chain.rpc("anvil_setCode", address, code)
        return self._at(address, deployed.abi)

    def transact(self, contract: Contract, function: str, *arguments: Any) -> None:
        data = contract.encode_abi(function, args=arguments)
        sent = self.chain.send_raw(1, to=contract.address, data=data, gas=_GAS)
        assert self.chain.wait(sent)["status"] == 1

    def deployed_wallet(self, owner: LocalAccount) -> str:
        return str(self.deploy("OwnedWallet", owner.address).address)

    def undeployed_wallet(self, owner: LocalAccount) -> tuple[str, str]:
        """Return the address of a wallet to be, and the factory's calldata that makes it."""
        self._salt += 1
        address = self.factory.functions.addressOf(owner.address, self._salt).call()
        return str(address), self.factory.encode_abi("create", args=[owner.address, self._salt])


def post(client: Client, path: str, body: Any, **headers: str) -> Any:
    return client.post(path, body, content_type="application/json", headers=headers)


def detail(answer: Any, status: int = 400) -> str:
    """Check that this is a refusal with a text and return the text."""
    assert answer.status_code == status, answer.content
    assert set(answer.json()) == {"detail"}
    assert isinstance(answer.json()["detail"], str)
    return str(answer.json()["detail"])


def offered(client: Client, wallet: str, action: str, value_hash: str = "") -> str:
    """Ask for a message to sign and return it."""
    query = {"action": action} | ({"value_hash": value_hash} if value_hash else {})
    answer = client.get(f"/api/authors/{wallet}/nonce", query)
    assert answer.status_code == 200, answer.content
    return str(answer.json()["message"])
