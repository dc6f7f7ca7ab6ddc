"""What can be made to go wrong in a local world, and how it is undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.chain import charge_for_data
from sandbox.world import KEEPER_WEI, World

_ETHER = 10**18
_GWEI = 10**9
_CREATE = "^POST .*/predictions$"


@dataclass(frozen=True)
class Mishap:
    """`faults` are the vendor's; `repair` is what the operator has to do.

    `seen`: words that dashboard and pipeline_status show then, and, if `holds_tokens`, the pages of
    the tokens that meet it.
    """

    name: str
    about: str
    repair: str
    seen: str
    vendor: str = ""
    faults: Mapping[str, Any] = field(default_factory=dict)
    on_chain: Callable[[World, bool], None] | None = None
    holds_tokens: bool = True

    def let_happen(self, world: World, *, end: bool = False) -> None:
        """Begin it, or end it; both may be done twice."""
        if self.vendor:
            changes = dict.fromkeys(self.faults) if end else self.faults
            world.control(self.vendor, "faults", changes)
        if self.on_chain is not None:
            self.on_chain(world, end)


def _set_keepers_balance(world: World, end: bool) -> None:
    world.chain.set_balance(world.keeper, KEEPER_WEI if end else 0)


def _set_gas_price(world: World, end: bool) -> None:
    world.chain.set_base_fee((1 if end else 1_000_000) * _GWEI // 1_000)


def _set_data_price(world: World, end: bool) -> None:
    charge_for_data(world.chain, 0 if end else 1_000 * _ETHER)


_ALL = (
    Mishap(
        "pinata-key",
        "Pinata has revoked its first key",
        "write .2 to the end of PINATA_JWT in .env (a second key), restart web and worker",
        "Uploads paused: Pinata refuses our key",
        "pinata",
        {"first_key_revoked": True},
    ),
    Mishap(
        "pinata-down",
        "Pinata answers 503 to everything",
        "wait; here end it",
        "Uploads paused: Pinata is unavailable",
        "pinata",
        {"server_error_rate": 1.0, "server_error_status": 503},
    ),
    Mishap(
        "pinata-limit",
        "Pinata takes two requests a minute, one token's",
        "wait, or a bigger plan; here end it",
        "Pinata limits the rate",
        "pinata",
        {"requests_per_minute": 2},
    ),
    Mishap(
        "replicate-credit",
        "Replicate's account has no credit (402)",
        "buy credit; here end it",
        "the account at Replicate has no credit",
        "replicate",
        {"account_refusal": "insufficient_credit"},
    ),
    Mishap(
        "replicate-limit",
        "Replicate takes six predictions a minute, one at a time",
        "wait, or a bigger account; here end it",
        "Replicate limits the rate",
        "replicate",
        {"creations_per_minute": 6, "creations_burst": 1},
    ),
    Mishap(
        "replicate-down",
        "Replicate answers 503 to everything",
        "wait; here end it",
        "Image generation paused: Replicate is unavailable",
        "replicate",
        {"server_error_rate": 1.0, "server_error_status": 503},
    ),
    Mishap(
        "replicate-listing",
        "Replicate takes each prediction, answers 500, and refuses to list them",
        "nothing; here end it: each is found, and none is paid twice",
        "Replicate refuses to list predictions",
        "replicate",
        {"scope": _CREATE, "error_after_rate": 1.0, "error_after_status": 500, "list_refusal": 403},
        holds_tokens=False,  # those alone whose reply was lost
    ),
    Mishap(
        "replicate-clock",
        "Replicate's clock is two minutes behind",
        "nothing; here end it",
        "Replicate's clock is 12",
        "replicate",
        {"clock_ahead_seconds": -120.0},
        holds_tokens=False,
    ),
    Mishap(
        "replicate-lost",
        "replies to paid calls are lost, and the listing that would show them is refused",
        "a token that may list predictions; here end it",
        "GET /v1/predictions answered HTTP 405",
        "replicate",
        {"drop_after_rate": 1.0, "scope": _CREATE, "list_refusal": 405},
    ),
    Mishap(
        "prompts-refused",
        "Replicate refuses every prompt, the fallback prompt too: tokens fail",
        "end it, then retry the tokens",
        "FALLBACK_CENSORED_PROMPT",
        "replicate",
        {"flagged_rate": 1.0},
    ),
    Mishap(
        "model-without-image",
        "the model ends well, is paid for, and gives no image; ten of these pause the generation",
        "end it, resume the generation, then retry the tokens",
        "without an image",
        "replicate",
        {"output_shape": "empty"},
    ),
    Mishap(
        "gateway-page",
        "the IPFS gateway serves a maintenance page in place of the files",
        "wait, or a second gateway in PINATA_GATEWAY; here end it",
        "Open its files at the gateway",
        "gateway",
        {"html_rate": 1.0},
    ),
    Mishap(
        "webhooks-lost",
        "Alchemy delivers nothing; mints come from the chain",
        "nothing; here end it",
        "came from the chain",
        "alchemy",
        {"webhook_lost_rate": 1.0},
        holds_tokens=False,
    ),
    Mishap(
        "keeper-empty",
        "the keeper's wallet has no ETH left",
        "send it some; here end it, which gives it 10 ETH",
        "Reveals paused",
        on_chain=_set_keepers_balance,
    ),
    Mishap(
        "gas-price",
        "gas costs 1,000 gwei, and an eighth less with each block",
        "wait a minute or two",
        "Reveals paused",
        on_chain=_set_gas_price,
    ),
    Mishap(
        "data-price",
        "Ethereum asks 1,000 ETH for each byte of a reveal, which no keeper can pay",
        "wait, or send the keeper more; here end it",
        "Reveals paused",
        on_chain=_set_data_price,
    ),
)
MISHAPS = {mishap.name: mishap for mishap in _ALL}
