"""The keeper's wallet, which has its signer sign; what it offers per gas.

And what is known of it. No page asks a node: a scheduled look leaves in `system_state` what it saw
of its chain, role and balance, of the price of gas, of costs of late.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from statistics import median
from typing import Any

import structlog
from django.conf import settings

from glisk.clients.chain import ChainClient, FeeHistory, RevealFacts, RpcError
from glisk.clients.signers import SignedTransaction, Signer, check_signer
from glisk.clock import read_moment
from glisk.errors import ProviderError
from glisk.models import SystemState
from reveals.gate import ChainSetupError, check_setup
from reveals.models import RevealTransaction, TransactionStatus

logger = structlog.get_logger(__name__)

KEY = "keeper"
OK, LOW, EMPTY, BLOCKED, UNKNOWN = "ok", "low", "empty", "blocked", "unknown"

# Until something was revealed: gas and bytes of one token in a batch of 50 (measured on the
# contract).
USUAL_GAS_PER_TOKEN = 92_000
USUAL_BYTES_PER_TOKEN = 200
_MEASURED_OVER = 20  # transactions


def keeper_address() -> str:
    """Return the keeper's address, also where its key cannot be read; empty if it is unknown.

    Without KEEPER_ADDRESS it is what the worker has left of its last look.
    """
    if settings.KEEPER_PRIVATE_KEY:
        return Keeper.from_settings().address
    return settings.KEEPER_ADDRESS or keeper_state().address


def can_sign() -> bool:
    """Tell whether this process has a signer."""
    key, file = settings.KEEPER_PRIVATE_KEY, settings.KEEPER_KEY_FILE.path
    return bool(settings.KEEPER_KMS_KEY_ID or key or file)


def signer_from_settings() -> Signer:
    """Return the keeper's signer; no key is read and nobody is asked before it signs."""
    if settings.KEEPER_KMS_KEY_ID:
        from glisk.clients.signers.kms import KmsSigner

        return KmsSigner(settings.KEEPER_KMS_KEY_ID, address=settings.KEEPER_ADDRESS)
    from glisk.clients.signers.local import FileSigner, KeySigner

    if settings.KEEPER_PRIVATE_KEY:
        return KeySigner(settings.KEEPER_PRIVATE_KEY)
    return FileSigner(settings.KEEPER_KEY_FILE.path, address=settings.KEEPER_KEY_FILE.address)


class Keeper:
    """Has type 2 (EIP-1559) transactions to the contract signed by its signer."""

    def __init__(self, signer: Signer) -> None:
        self._signer, self.address = signer, signer.address

    def __repr__(self) -> str:
        return f"<Keeper {self.address}>"

    @classmethod
    def from_settings(cls) -> Keeper:
        return cls(signer_from_settings())

    def sign(
        self,
        *,
        nonce: int,
        data: str,
        gas_limit: int,
        max_fee_per_gas_wei: int,
        max_priority_fee_per_gas_wei: int,
        value_wei: int = 0,
    ) -> SignedTransaction:
        """Return one call of the contract, signed by the keeper whatever the signer has done.

        Equal input need not give equal bytes. Raises `ProviderError`.
        """
        transaction: dict[str, Any] = {
            "type": 2,
            "chainId": settings.CHAIN_ID,
            "nonce": nonce,
            "to": settings.GLISK_NFT_CONTRACT_ADDRESS,
            "value": value_wei,
            "data": data,
            "gas": gas_limit,
            "maxFeePerGas": max_fee_per_gas_wei,
            "maxPriorityFeePerGas": max_priority_fee_per_gas_wei,
        }
        signed = self._signer.sign(transaction)
        check_signer(signed, self.address)
        return signed


# -- what was last seen of it ---------------------------------------------------------------


@dataclass(frozen=True)
class KeeperState:
    """The keeper at `checked_at`; amounts in wei, times in ISO 8601.

    `status`, `since` when: ok; low (warns); empty (reveals pause until a top-up); blocked (`reason`
    says by what: wrong chain, no contract, no role, gas price); unknown (nobody has looked yet).
    """

    status: str = UNKNOWN
    since: str | None = None
    reason: str = ""
    address: str = ""
    chain_id: int = 0
    balance_wei: int = 0
    cost_per_token_wei: int = 0
    reveals_left: int = 0
    gas_price_wei: int = 0  # base fee and tip that a reveal would pay now
    gas_price_high_since: str | None = None
    checked_at: str | None = None
    unreachable: str = ""  # why the last look failed; the rest is from the one before


def keeper_state() -> KeeperState:
    """Return what was last seen of the keeper; what is not understood counts as absent."""
    row = SystemState.objects.filter(state_key=KEY).first()
    known = row.state_value if row and isinstance(row.state_value, dict) else {}
    return KeeperState(**{f.name: known[f.name] for f in fields(KeeperState) if f.name in known})


def look_at_keeper(chain: ChainClient, *, address: str) -> KeeperState:
    """Ask the node for the keeper's facts, keep them, and log it when the judgement changes.

    A node that fails is a fact as well.
    """
    was = keeper_state()
    try:
        facts = chain.reveal_facts(keeper=address, token_ids=[], mint_blocks=[])
        state = _judge(facts, chain.fee_history(percentile=percentile()), address, was)
    except ProviderError as error:
        state = replace(was, address=address, unreachable=str(error))
    SystemState.put(KEY, asdict(state))
    if (state.status, bool(state.gas_price_high_since)) != (
        was.status,
        bool(was.gas_price_high_since),
    ):
        severity = {OK: "info", LOW: "warning"}.get(state.status, "error")
        getattr(logger, severity)(
            "keeper_" + state.status,
            reason=state.reason,
            reveals_left=state.reveals_left,
            keeper=address,
        )
    elif state.gas_price_high_since:
        logger.error("gas_price_too_high", reason=state.reason)
    return state


def _judge(facts: RevealFacts, history: FeeHistory, address: str, was: KeeperState) -> KeeperState:
    now = datetime.now(UTC)
    reason, high_since = "", None
    try:
        fees = choose_fees(history, ceiling_wei=configured_ceiling_wei())
        price = history.next_base_fee_per_gas_wei + fees.max_priority_fee_per_gas_wei
    except GasPriceTooHighError as error:
        price, high_since = error.needed_wei, read_moment(was.gas_price_high_since) or now
        minutes = (now - high_since).total_seconds() / 60
        reason = f"{error} It has been so for {minutes:.0f} min."
    try:
        check_setup(facts, keeper=address)
    except ChainSetupError as error:
        reason = str(error)
    costs = reveal_costs()
    cost = costs.wei_per_token or USUAL_GAS_PER_TOKEN * price
    if not costs.l1_is_measured:  # no reveal yet, or a node whose receipts do not tell it
        cost += USUAL_BYTES_PER_TOKEN * history.l1_fee_per_byte_wei
    left = facts.balance_wei // cost if cost else 0
    status = EMPTY if left < 1 else LOW if left < settings.KEEPER_LOW_REVEALS else OK
    if reason:
        status = BLOCKED
    elif status != OK:
        effect = "Reveals pause" if status == EMPTY else "Reveals will soon pause"
        reason = (
            f"The keeper {address} has {facts.balance_wei / 1e18:.9f} ETH, enough for about {left} "
            f"reveals. {effect} until it is topped up; they go on automatically."
        )
    moment = now.isoformat(timespec="seconds")
    return KeeperState(
        status=status,
        since=was.since if was.since and was.status == status else moment,
        reason=reason,
        address=address,
        chain_id=facts.chain_id,
        balance_wei=facts.balance_wei,
        cost_per_token_wei=cost,
        reveals_left=left,
        gas_price_wei=price,
        gas_price_high_since=high_since.isoformat() if high_since else None,
        checked_at=moment,
    )


@dataclass(frozen=True)
class RevealCosts:
    """What the last reveals took per token; None before the first one.

    `l1_is_measured`: their receipts told the L1 data fee.
    """

    tokens: int
    gas_per_token: int | None
    wei_per_token: int | None
    l1_is_measured: bool


def reveal_costs() -> RevealCosts:
    """Return the costs of the newest confirmed reveals, L1 data fee included; one query."""
    confirmed = RevealTransaction.objects.filter(
        status=TransactionStatus.CONFIRMED, gas_used__isnull=False
    )
    rows = confirmed.defer("raw_transaction", "metadata_uris").order_by("-signed_at")
    newest = list(rows[:_MEASURED_OVER])
    tokens = sum(len(row.token_ids) for row in newest)
    if not tokens:
        return RevealCosts(0, None, None, False)
    return RevealCosts(
        tokens,
        gas_per_token=sum(row.gas_used or 0 for row in newest) // tokens,
        wei_per_token=sum(row.cost_wei or 0 for row in newest) // tokens,
        l1_is_measured=any(row.l1_fee_wei is not None for row in newest),
    )


# -- what it offers per gas: EIP-1559 fees from the recent blocks, under a ceiling ---------------

_PERCENTILES = {"slow": 10, "medium": 50, "fast": 90}

# Enough for a node that refuses a tip of zero; a thousandth of Base's base fee.
MIN_PRIORITY_FEE_WEI = 1_000

# EIP-7825: no transaction may have a higher gas limit (Base since May 2026).
MAX_TRANSACTION_GAS = 1 << 24


# How nodes refuse to estimate or take a call that needs more than they allow.
_ABOVE_CAP = (
    "per-transaction gas limit",  # Base: "exceeds maximum per-transaction gas limit"
    "gas required exceeds allowance",  # geth, reth
    "intrinsic gas too high",  # anvil
    "exceeds block gas limit",  # geth
    "transaction gas limit too high",  # geth, EIP-7825
)


class GasPriceTooHighError(Exception):
    """The chain asks for more than REVEAL_MAX_GAS_PRICE_GWEI; tokens wait."""

    def __init__(self, needed_wei: int, ceiling_wei: int) -> None:
        self.needed_wei, self.ceiling_wei = needed_wei, ceiling_wei
        super().__init__(
            f"The chain asks for {needed_wei / 1e9:g} gwei per gas, more than "
            f"REVEAL_MAX_GAS_PRICE_GWEI allows ({ceiling_wei / 1e9:g}). Reveals wait until it "
            "falls; raise the ceiling if it does not."
        )


@dataclass(frozen=True)
class Fees:
    """Both fees of an EIP-1559 transaction, in wei per gas."""

    max_fee_per_gas_wei: int
    max_priority_fee_per_gas_wei: int


def configured_ceiling_wei() -> int:
    """Return REVEAL_MAX_GAS_PRICE_GWEI in wei."""
    return int(settings.REVEAL_MAX_GAS_PRICE_GWEI * 1_000_000_000)


def percentile() -> int:
    """Return which one to ask for of the tips that transactions of the last ten blocks paid."""
    return _PERCENTILES[settings.KEEPER_GAS_STRATEGY]


def choose_fees(history: FeeHistory, *, ceiling_wei: int) -> Fees:
    """Return fees that survive a doubling of the base fee, never above the ceiling.

    Raises `GasPriceTooHighError` if even the next block's price is above it.
    """
    base = history.next_base_fee_per_gas_wei
    if base + MIN_PRIORITY_FEE_WEI > ceiling_wei:
        raise GasPriceTooHighError(base + MIN_PRIORITY_FEE_WEI, ceiling_wei)
    tip = min(_market_tip_wei(history), ceiling_wei - base)
    return Fees(min(2 * base + tip, ceiling_wei), tip)


def bump_fees(
    paid: Fees, history: FeeHistory, *, ceiling_wei: int, is_too_little: bool = False
) -> Fees | None:
    """Return fees for a replacement: both an eighth more at least, or the market's if higher.

    `is_too_little`: no pool takes what was offered. The tip is doubled then: a pool's least tip may
    be dust, and yet so far above a market where nobody tips that by eighths of both fees the
    ceiling would come first. Returns None if the ceiling leaves no room: then the old bytes are
    sent again.
    """
    floor_fee = least_bump(paid.max_fee_per_gas_wei)
    floor_tip = least_bump(paid.max_priority_fee_per_gas_wei)
    if floor_fee > ceiling_wei:
        return None
    wanted_tip = 2 * paid.max_priority_fee_per_gas_wei if is_too_little else 0
    tip = max(floor_tip, wanted_tip, _market_tip_wei(history))
    market_fee = 2 * history.next_base_fee_per_gas_wei + tip
    fee = min(max(floor_fee, market_fee), ceiling_wei)
    return Fees(fee, min(tip, fee)) if floor_tip <= fee else None


def _market_tip_wei(history: FeeHistory) -> int:
    """Return the tip that is paid now, where somebody pays one."""
    tips = [fee for fee in history.priority_fees_wei if fee > 0]
    return max(int(median(tips)) if tips else 0, MIN_PRIORITY_FEE_WEI)


def least_bump(wei: int) -> int:
    """Return the fee of a replacement: nodes want a tenth more (geth, reth), an eighth is safe."""
    return -(-wei * 9 // 8)  # rounded up


def is_above_cap(error: RpcError) -> bool:
    """Tell whether a node refused a call because it needs more gas than one transaction may."""
    lowered = error.said.lower()
    return any(text in lowered for text in _ABOVE_CAP)
