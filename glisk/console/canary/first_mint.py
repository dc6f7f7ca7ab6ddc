"""`canary --send`: one token is minted on a test network, and followed until it is revealed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import CommandError

from glisk.clients.chain import ChainClient, RevertError
from glisk.clients.chain.codec import read_number, word
from glisk.clients.ipfs import GatewayClient
from glisk.clients.signers.local import KeySigner
from glisk.config.keys import judge_key
from glisk.console.canary.checks import Answer
from glisk.engine.heartbeat import stages_alive
from glisk.errors import ProviderError, TransientError
from glisk.logging.redaction import register_secret
from reveals.keeper import (
    GasPriceTooHighError,
    Keeper,
    choose_fees,
    configured_ceiling_wei,
    percentile,
)
from tokens.models import Token, TokenTransition
from tokens.states import TokenStatus

MAINNET: Final = 8453
_MINT, _PRICE = "0x40c10f19", "0x6817c76c"  # mint(address,uint256), mintPrice()
_LOOK_SECONDS: Final = 0.5
_MAX_BYTES: Final = 100_000


class MintFailed(Exception):
    """The way of the token ended; the text says where, and what to do."""


def payer_from(path: Path | None) -> Keeper:
    """Read the private key of the account that pays for the mint; raise CommandError."""
    if settings.CHAIN_ID == MAINNET:
        raise CommandError(
            "--send mints a real token, and this is Base mainnet: use BASE_SEPOLIA for it. "
            "Nothing was done."
        )
    if path is None:
        raise CommandError("--send needs --account-key-file. Nothing was done.")
    try:
        key = path.read_text(encoding="ascii").strip()
        judged = judge_key(key)
        problem = judged.problem
    except (OSError, UnicodeDecodeError):
        problem = "cannot be read"
    if problem:
        raise CommandError(f"{path} {problem}. Nothing was done.")
    if settings.IS_REAL_NETWORK and judged.is_public:
        raise CommandError(
            "Everybody knows this key (of a local test node): use an account of your own. "
            "Nothing was done."
        )
    register_secret(key)
    return Keeper(KeySigner(key))


def mint_and_follow(payer: Keeper, *, timeout_seconds: float) -> Iterator[Answer]:
    """Yield what each step of the token's way said; ends with the first that fails."""
    journey = Journey(payer, ends=time.monotonic() + timeout_seconds)
    steps: list[tuple[str, str, Callable[[], str]]] = [
        ("workers", "alive", journey.look_for_workers),
        ("chain", "mint", journey.mint),
        ("workers", "revealed", journey.follow),
        ("chain", "token URI", journey.read_back),
    ]
    for vendor, subject, step in steps:
        begun = time.monotonic()
        try:
            text, is_well = step(), True
        except (MintFailed, ProviderError, GasPriceTooHighError) as error:
            text, is_well = str(error), False
        yield Answer(vendor, subject, is_well, text, time.monotonic() - begun)
        if not is_well:
            return


class Journey:
    """One token's way; `ends` is the moment (monotonic) until which it is followed."""

    def __init__(self, payer: Keeper, *, ends: float) -> None:
        self.payer, self._ends = payer, ends
        self.chain = ChainClient.from_settings()
        self.token_id = 0

    def look_for_workers(self) -> str:
        missing = {"generation", "upload", "reveal"} - stages_alive()
        if missing:
            raise MintFailed(
                f"No living worker does {', '.join(sorted(missing))}: start web and workers first. "
                "Nothing was minted."
            )
        return "workers live for all three stages"

    def mint(self) -> str:
        """Sign and send one mint; the price is the contract's."""
        payer, rpc, contract = self.payer, self.chain.rpc, settings.GLISK_NFT_CONTRACT_ADDRESS
        price = read_number(rpc.call("eth_call", {"to": contract, "data": _PRICE}, "latest"))
        data = _MINT + word(int(settings.GLISK_DEFAULT_AUTHOR_WALLET, 16)) + word(1)
        call = {"from": payer.address, "to": contract, "data": data, "value": hex(price)}
        try:
            gas = read_number(rpc.call("eth_estimateGas", call))
        except RevertError as error:
            raise MintFailed(f"The mint would revert: {error}. Nothing was sent.") from error
        history = self.chain.fee_history(percentile=percentile())
        fees = choose_fees(history, ceiling_wei=configured_ceiling_wei())
        signed = payer.sign(
            nonce=read_number(rpc.call("eth_getTransactionCount", payer.address, "pending")),
            data=data,
            gas_limit=gas * 5 // 4,
            value_wei=price,
            **asdict(fees),
        )
        tx_hash = signed.tx_hash
        with suppress(TransientError):  # it may have arrived all the same: the receipt tells
            self.chain.send_raw_transaction(signed.raw)
        receipt = self.wait(
            lambda: rpc.call("eth_getTransactionReceipt", tx_hash), f"{tx_hash} is not mined"
        )
        if read_number(receipt.get("status")) != 1:
            raise MintFailed(f"The mint {tx_hash} was mined, and reverted.")
        mints = [log for log in receipt.get("logs", []) if self.chain.is_mint(log)]
        if len(mints) != 1:
            raise MintFailed(f"The mint {tx_hash} left no BatchMinted log of the contract.")
        self.token_id = read_number(mints[0]["topics"][3])
        return f"#{self.token_id} by {tx_hash}, {price / 1e18:g} ETH paid by {payer.address}"

    def follow(self) -> str:
        """Wait for the reveal, and say how long each state took."""
        ended = Token.objects.filter(
            pk=self.token_id, status__in=(TokenStatus.REVEALED, TokenStatus.FAILED)
        )
        token = self.wait(
            ended.first,
            f"#{self.token_id} is not revealed: see its page and `manage.py pipeline_status`",
        )
        if token.status != TokenStatus.REVEALED:
            raise MintFailed(f"Token {token.pk} failed: {token.generation_error}")
        moves = TokenTransition.objects.filter(token_id=token.pk).order_by("pk")
        times = {move.to_status: move.created_at for move in moves}
        first = min(times.values())
        took = (
            f"{state} {(at - first).total_seconds():.1f} s" for state, at in list(times.items())[1:]
        )
        return f"#{token.pk} by {token.reveal_tx_hash}: {', '.join(took)} after its detection"

    def read_back(self) -> str:
        """Compare what the contract says with what was meant, and open it at the gateway."""
        token = Token.objects.get(pk=self.token_id)
        told = self.chain.tokens([token.pk])[token.pk]
        if not told.revealed or told.uri != token.token_uri:
            raise MintFailed(f"The contract says {told.uri!r}, and {token.token_uri} was meant.")
        GatewayClient().fetch_verified(str(token.metadata_cid), max_bytes=_MAX_BYTES)
        return f"{told.uri}, and the gateway serves it"

    def wait(self, look: Callable[[], Any], what: str) -> Any:
        """Return what a look brings as soon as it brings something; a node may be away meanwhile.

        Raises MintFailed when the time is up.
        """
        while True:
            with suppress(TransientError):
                if found := look():
                    return found
            if time.monotonic() >= self._ends:
                raise MintFailed(f"In the time given {what}.")
            time.sleep(_LOOK_SECONDS)
