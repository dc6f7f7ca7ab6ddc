"""What was last seen of the keeper: kept in `system_state`, shown by pages.

No page asks a node; the workers leave here what they saw (keeper_watch).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from glisk.models import SystemState

KEY = "keeper"
OK, LOW, EMPTY, BLOCKED, UNKNOWN = "ok", "low", "empty", "blocked", "unknown"


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
