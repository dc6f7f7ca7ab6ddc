"""Name what can go wrong between Alchemy and a webhook's receiver."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.http import Faults


@dataclass(frozen=True, kw_only=True)
class AlchemyFaults(Faults):
    """Set how deliveries go wrong; each rate is a probability for each notification.

    lost: it is never sent, and nobody is told. duplicate: sent twice, with the same id.
    reorder: held back until the next notification went out, or `webhook_reorder_seconds` are
    over. delay: sent late. truncated, forged: the first attempt carries half the body, or a
    signature of another key; the retry is right.
    """

    webhook_lost_rate: float = 0.0
    webhook_duplicate_rate: float = 0.0
    webhook_reorder_rate: float = 0.0
    webhook_reorder_seconds: tuple[float, float] = (5.0, 5.0)
    webhook_delay_rate: float = 0.0
    webhook_delay_seconds: tuple[float, float] = (1.0, 3.0)
    webhook_truncated_rate: float = 0.0
    webhook_forged_rate: float = 0.0
