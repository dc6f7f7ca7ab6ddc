"""What a reveal offers per gas: EIP-1559 fees from the recent blocks, under a ceiling."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from django.conf import settings

from glisk.clients.chain import FeeHistory, RpcError

# Percentile of the priority fees that transactions of the last ten blocks paid.
PERCENTILES = {"slow": 10, "medium": 50, "fast": 90}

# Enough for a node that refuses a tip of zero; a thousandth of Base's base fee.
MIN_PRIORITY_FEE_WEI = 1_000

# A node takes a replacement only if both fees grow by a tenth (geth, reth); an eighth is safe.
_REPLACEMENT_NUMERATOR, _REPLACEMENT_DENOMINATOR = 9, 8

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
    """Return the lowest fee with which a node takes a replacement."""
    return -(-wei * _REPLACEMENT_NUMERATOR // _REPLACEMENT_DENOMINATOR)  # rounded up


def gas_limit(estimate: int, *, buffer: float) -> int:
    """Return the estimate with its buffer, under the chain's cap per transaction."""
    return min(int(estimate * buffer), MAX_TRANSACTION_GAS)


def is_above_cap(error: RpcError) -> bool:
    """Tell whether a node refused a call because it needs more gas than one transaction may."""
    lowered = error.rpc_message.lower()
    return any(text in lowered for text in _ABOVE_CAP)
