"""The demo contract seen from outside: mint, look, and disturb the chain.

Written with web3.py on purpose: it is a second implementation, which checks what the production
client (glisk/clients/chain) did. Used by the demo, the tests and the benchmarks.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from eth_account import Account
from eth_typing import ChecksumAddress, HexStr
from eth_utils.crypto import keccak
from web3 import HTTPProvider, Web3
from web3.contract.contract import Contract
from web3.types import TxParams, TxReceipt, Wei
from web3.utils import get_create_address

from sandbox.accounts import ACCOUNTS, CONTRACT_ADDRESS, DEPLOYER, KEEPER
from sandbox.pinata.store import PLACEHOLDER_URI

ARTEFACT_FILE = Path(__file__).resolve().parent / "contracts" / "GliskDemo.json"
NAME, SYMBOL = "GLISK Season 0", "GLISK0"
MINT_PRICE_WEI = 250_000_000_000_000  # 0.00025 ETH, as on Base mainnet.
KEEPER_ROLE = keccak(text="KEEPER_ROLE")
PRIORITY_FEE_WEI = 1_000_000
TX_GAS_CAP = 1 << 24  # EIP-7825.
L1_FEE_ORACLE = "0x420000000000000000000000000000000000000F"


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


class DemoChain:
    """A local node with the demo contract on it.

    Senders are named by the index of a development account (the node signs) or by a private key.
    Every method that sends returns the transaction's hash at once; `wait` returns its receipt.
    """

    def __init__(self, rpc_url: str, contract_address: str = CONTRACT_ADDRESS) -> None:
        self.rpc_url = rpc_url
        self.w3 = Web3(
            HTTPProvider(
                rpc_url, request_kwargs={"timeout": 30}, exception_retry_configuration=None
            )
        )
        self._artefact: dict[str, Any] = json.loads(ARTEFACT_FILE.read_text())
        self._bind(contract_address)

    # --- deploying ---
    def deploy(self, keeper_address: str = KEEPER.address, price_wei: int = MINT_PRICE_WEI) -> str:
        """Deploy the contract unless it is there, give the keeper its role; return the address.

        On a fresh chain the address is always CONTRACT_ADDRESS. The keeper gets KEEPER_ROLE and
        nothing else. Mines a block itself instead of waiting for one.
        """
        sent = []
        if not self.w3.eth.get_code(self.contract.address):
            nonce = self.w3.eth.get_transaction_count(_address(DEPLOYER.address))
            self._bind(get_create_address(_address(DEPLOYER.address), nonce))
            factory = self.w3.eth.contract(
                abi=self._artefact["abi"], bytecode=self._artefact["bytecode"]
            )
            constructor = factory.constructor(NAME, SYMBOL, PLACEHOLDER_URI, price_wei)
            # Given every field, web3 fills in nothing and asks the node nothing.
            creation = constructor.build_transaction(
                {"gas": 0, "maxFeePerGas": Wei(0), "maxPriorityFeePerGas": Wei(0), "chainId": 0}
            )
            sent.append(self.send_raw(0, data=str(creation["data"]), gas=6_000_000))
        if sent or not self.has_keeper_role(keeper_address):
            sent.append(self.send(0, "grantRole", KEEPER_ROLE, _address(keeper_address)))
            self.mine()
        for tx_hash in sent:
            if self.wait(tx_hash)["status"] != 1:
                raise RuntimeError(f"deploying the demo contract failed in {tx_hash}")
        return self.contract.address

    def has_keeper_role(self, address: str) -> bool:
        return bool(self.contract.functions.hasRole(KEEPER_ROLE, _address(address)).call())

    # --- sending ---
    def mint(
        self,
        minter: int | str,
        author: str,
        quantity: int = 1,
        *,
        value_wei: int | None = None,
    ) -> str:
        """Send a mint and return its hash without waiting; pays the exact price by default."""
        value = self.mint_price_wei() * quantity if value_wei is None else value_wei
        gas = 120_000 + 150_000 * min(quantity, 100)
        return self.send(minter, "mint", _address(author), quantity, value_wei=value, gas=gas)

    def reveal(self, sender: int | str, token_ids: Sequence[int], uris: Sequence[str]) -> str:
        """Send a reveal, as the keeper would, or as somebody who must not."""
        gas = min(100_000 + 125_000 * len(token_ids), TX_GAS_CAP)
        return self.send(sender, "revealTokens", list(token_ids), list(uris), gas=gas)

    def send(
        self,
        sender: int | str,
        function: str,
        *arguments: Any,
        value_wei: int = 0,
        gas: int = 200_000,
    ) -> str:
        """Send a contract call; it is not simulated first, so a failing one is mined too."""
        data = self.contract.encode_abi(function, args=arguments)
        return self.send_raw(
            sender, to=self.contract.address, data=data, value_wei=value_wei, gas=gas
        )

    def send_raw(
        self,
        sender: int | str,
        *,
        to: str | None = None,
        data: str = "0x",
        value_wei: int = 0,
        gas: int = 21_000,
    ) -> str:
        """Send any transaction; without `to` it creates a contract."""
        transaction: TxParams = {
            "data": cast(HexStr, data),
            "value": Wei(value_wei),
            "gas": gas,
            "maxPriorityFeePerGas": Wei(PRIORITY_FEE_WEI),
            "maxFeePerGas": Wei(2 * self.base_fee_wei() + PRIORITY_FEE_WEI),
            "chainId": self._chain_id,
        }
        if to is not None:
            transaction["to"] = _address(to)
        if isinstance(sender, int):
            transaction["from"] = _address(ACCOUNTS[sender].address)
            return self.w3.eth.send_transaction(transaction).to_0x_hex()
        account = Account.from_key(sender)
        transaction["nonce"] = self.w3.eth.get_transaction_count(account.address, "pending")
        signed = account.sign_transaction(transaction)
        return self.w3.eth.send_raw_transaction(signed.raw_transaction).to_0x_hex()

    def wait(self, tx_hash: str, timeout_seconds: float = 30.0) -> TxReceipt:
        """Return the receipt once the transaction is mined (web3's TimeExhausted if it is not)."""
        return self.w3.eth.wait_for_transaction_receipt(
            cast(HexStr, tx_hash), timeout=timeout_seconds, poll_latency=0.02
        )

    # --- looking ---
    def next_token_id(self) -> int:
        return int(self.contract.functions.nextTokenId().call())

    def token_uri(self, token_id: int) -> str:
        return str(self.contract.functions.tokenURI(token_id).call())

    def is_revealed(self, token_id: int) -> bool:
        return bool(self.contract.functions.isRevealed(token_id).call())

    def token_prompt_author(self, token_id: int) -> str:
        return str(self.contract.functions.tokenPromptAuthor(token_id).call())

    def owner_of(self, token_id: int) -> str:
        return str(self.contract.functions.ownerOf(token_id).call())

    def mint_price_wei(self) -> int:
        return int(self.contract.functions.mintPrice().call())

    def block_number(self) -> int:
        return int(self.w3.eth.block_number)

    def block_timestamp(self, block_number: int) -> int:
        return int(self.w3.eth.get_block(block_number)["timestamp"])

    def base_fee_wei(self) -> int:
        return int(self.w3.eth.get_block("latest")["baseFeePerGas"])

    def balance_wei(self, address: str) -> int:
        return int(self.w3.eth.get_balance(_address(address)))

    def mints(self, from_block: int = 0) -> list[Mint]:
        """Return every BatchMinted log of the canonical chain, in order."""
        return [
            Mint(
                tx_hash=log["transactionHash"].to_0x_hex(),
                log_index=log["logIndex"],
                block_number=log["blockNumber"],
                block_hash=log["blockHash"].to_0x_hex(),
                block_timestamp=self.block_timestamp(log["blockNumber"]),
                minter=log["args"]["minter"],
                prompt_author=log["args"]["promptAuthor"],
                start_token_id=log["args"]["startTokenId"],
                quantity=log["args"]["quantity"],
                total_paid_wei=log["args"]["totalPaid"],
            )
            for log in self.contract.events.BatchMinted().get_logs(from_block=from_block)
        ]

    def reveal_transactions(self, from_block: int = 0) -> list[Reveal]:
        """Return every successful reveal of the canonical chain, in order."""
        found = []
        for log in self.contract.events.TokensRevealed().get_logs(from_block=from_block):
            tx_hash = log["transactionHash"]
            transaction = self.w3.eth.get_transaction(tx_hash)
            receipt = self.w3.eth.get_transaction_receipt(tx_hash)
            arguments = self.contract.decode_function_input(transaction["input"])[1]
            found.append(
                Reveal(
                    tx_hash=tx_hash.to_0x_hex(),
                    block_number=log["blockNumber"],
                    block_timestamp=self.block_timestamp(log["blockNumber"]),
                    sender=transaction["from"],
                    token_ids=tuple(log["args"]["tokenIds"]),
                    uris=tuple(arguments["uris"]),
                    gas_used=receipt["gasUsed"],
                    gas_limit=transaction["gas"],
                    effective_gas_price_wei=receipt["effectiveGasPrice"],
                )
            )
        return found

    # --- disturbing ---
    def mine(self, blocks: int = 1) -> None:
        self.rpc("anvil_mine", hex(blocks))

    def snapshot(self) -> str:
        return str(self.rpc("evm_snapshot"))

    def revert(self, snapshot_id: str) -> None:
        """Go back to a snapshot; it can be used once."""
        if not self.rpc("evm_revert", snapshot_id):
            raise ValueError("the node does not know this snapshot (any more)")

    def reorg(self, depth: int, keep: Sequence[tuple[str, int]] = ()) -> None:
        """Replace the last `depth` blocks by others of the same number.

        Transactions of the old blocks vanish, except those in `keep`: (hash, which of the new
        blocks, from 0).
        """
        raw = [(self.rpc("eth_getRawTransactionByHash", tx_hash), block) for tx_hash, block in keep]
        self.rpc("anvil_reorg", depth, raw)

    def set_automine(self, enabled: bool) -> None:
        self.rpc("evm_setAutomine", enabled)

    def set_block_time(self, seconds: int) -> None:
        """Mine every so many seconds from now on; 0 stops interval mining."""
        self.rpc("evm_setIntervalMining", seconds)

    def set_base_fee(self, wei: int) -> None:
        """Set the next block's base fee; it sinks by one eighth per empty block after that."""
        self.rpc("anvil_setNextBlockBaseFeePerGas", hex(wei))

    def set_balance(self, address: str, wei: int) -> None:
        self.rpc("anvil_setBalance", address, hex(wei))

    def drop_transaction(self, tx_hash: str) -> None:
        """Take a waiting transaction out of the pool, as a node does that forgot it."""
        self.rpc("anvil_dropTransaction", tx_hash)

    def rpc(self, method: str, *parameters: Any) -> Any:
        """Call any method of the node.

        Raises:
            RuntimeError: the node answered with an error.
        """
        answer = self.w3.provider.make_request(cast(Any, method), list(parameters))
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    @cached_property
    def _chain_id(self) -> int:
        return self.w3.eth.chain_id

    def _bind(self, address: str) -> None:
        self.contract: Contract = self.w3.eth.contract(
            address=_address(address), abi=self._artefact["abi"]
        )


def charge_for_data(chain: DemoChain, wei_per_byte: int) -> None:
    """Put Base's oracle of the price of data on Ethereum on the chain; 0 takes it away.

    The node charges nothing by itself; `FaultyRpc.tell_l1_fees` puts the fee into receipts.
    """
    # Revert unless the selector is that of getL1FeeUpperBound(uint256); return it * wei_per_byte.
    code = f"5f3560e01c63f1c7a58b146011575f5ffd5b6004356f{wei_per_byte:032x}025f5260205ff3"
    chain.rpc("anvil_setCode", L1_FEE_ORACLE, "0x" + (code if wei_per_byte else ""))


def _address(address: str) -> ChecksumAddress:
    return Web3.to_checksum_address(address)
