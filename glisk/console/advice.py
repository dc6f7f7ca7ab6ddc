"""What an operator does about an open breaker: one sentence, beside what the vendor said.

The runbook says the same at more length.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from glisk.breaker import BreakerState


class _Rule(NamedTuple):
    """Refusals by status or code, by the vendor's words, or by ours (in lower case)."""

    advice: str
    codes: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()

    def fits(self, refusal: BreakerState) -> bool:
        if refusal.code in self.codes or str(refusal.status) in self.codes:
            return True
        if refusal.said:
            return any(word in refusal.said.lower() for word in self.said)
        ours = refusal.reason.partition(_HINT)[0].lower()
        return any(word in ours for word in self.ours)


# Clients put what their caller may do about an error behind this.
_HINT: Final = " | "

_AGAIN: Final = "It is tried again within a minute, or at once by Controls, Call again."
_MISFIT: Final = (
    "NETWORK, RPC_URL and GLISK_NFT_CONTRACT_ADDRESS must belong together: correct them and "
    "restart web and workers."
)
_NODE_ACCOUNT: Final = _Rule(
    "The node's provider refuses the key or its plan is used up: correct RPC_URL or "
    "ALCHEMY_API_KEY and restart web and workers, or raise the plan there.",
    codes=("401", "402", "403", "account"),
)
_NODE_LIMIT: Final = _Rule(
    "Nothing: the node is asked more slowly. A bigger plan at its provider is faster.",
    codes=("429",),
)
_SETTING: Final = _Rule(
    "Its URL or key in the settings holds something that cannot be sent: correct it and restart "
    "web and workers.",
    codes=("unusable_setting",),
)

# By breaker: the first rule that fits counts.
_RULES: Final[dict[str, tuple[_Rule, ...]]] = {
    "replicate": (
        _Rule(
            f"Set a valid REPLICATE_API_TOKEN, restart web and workers. {_AGAIN}",
            codes=("401",),
        ),
        # Before credit, of which Replicate's words on a low rate speak, too.
        _Rule(
            "Nothing: calls are made at the pace that Replicate bears. To be faster raise the "
            "account's credit or limit there; WORKER_BATCH_SIZE does not matter.",
            codes=("429",),
        ),
        _Rule(
            f"Buy credit or raise the spend limit at Replicate. {_AGAIN}",
            codes=("402",),
            said=("insufficient credit", "spend limit"),
        ),
        _Rule(
            "Correct REPLICATE_MODEL_VERSION and restart the workers; a version needs a "
            "payment method.",
            codes=("model_version", "model_not_found"),
        ),
        _Rule(
            f"Replicate forbids it: look at the token's rights and the account there. {_AGAIN}",
            codes=("403",),
        ),
    ),
    "replicate_listing": (
        _Rule(
            "May the token of REPLICATE_API_TOKEN list predictions? Only tokens whose reply "
            "was lost wait for it; all others go on.",
            codes=("401", "403", "404", "405"),
        ),
    ),
    "replicate_reads": (
        _Rule(
            "May the token of REPLICATE_API_TOKEN read predictions? Nothing new is paid for "
            "until it may, since nobody would see the images.",
            codes=("401", "403"),
        ),
    ),
    "pinata": (
        _Rule(
            "The key lacks pinFileToIPFS: create one with the legacy pinning scopes, set "
            "PINATA_JWT, restart web and workers.",
            codes=("NO_SCOPES_FOUND",),
            said=("scope",),
        ),
        _Rule(
            "Create a key with the legacy pinning scopes at Pinata, set PINATA_JWT, restart "
            f"web and workers. {_AGAIN}",
            codes=("401", "INVALID_CREDENTIALS", "API_KEY_REVOKED"),
        ),
        _Rule(
            "Nothing: calls are made at the pace that Pinata bears. A bigger plan is faster.",
            codes=("429",),
        ),
        _Rule(
            "The plan is full: upgrade it or unpin files at Pinata; it goes on by itself.",
            codes=("402",),
            said=("plan", "blocked", "usage limit"),
        ),
        _Rule(
            f"Pinata forbids it: look at the key and at the plan there. {_AGAIN}",
            codes=("403",),
        ),
    ),
    "chain": (
        _Rule(
            "Have the contract's admin grant KEEPER_ROLE to the keeper's address.",
            ours=("keeper_role",),
        ),
        _Rule(
            "Send ETH to the keeper's address; reveals go on within half a minute.",
            codes=("no_funds",),
            ours=("eth. send", "cannot pay", "has 0"),
        ),
        _Rule(
            "Wait until gas is cheaper, or raise REVEAL_MAX_GAS_PRICE_GWEI and restart the "
            "workers.",
            ours=("gwei",),
        ),
        _Rule(_MISFIT, ours=("no contract", "on chain")),
        _NODE_ACCOUNT,
        _NODE_LIMIT,
    ),
    "rpc": (
        _Rule(_MISFIT, ours=("no contract", "on chain", "cannot have counted")),
        _NODE_ACCOUNT,
        _NODE_LIMIT,
    ),
    "gateway": (
        _Rule(
            "The gateway wants a key: set PINATA_GATEWAY_TOKEN, or another PINATA_GATEWAY, and "
            "restart the workers.",
            codes=("401",),
            said=("gateway token",),
        ),
    ),
    "opensea": (
        _Rule(
            "Correct OPENSEA_API_KEY and restart the workers; reveals are not concerned.",
            codes=("401", "402", "403"),
        ),
    ),
    "selfhosted": (
        _Rule(
            "Correct SELFHOSTED_IMAGE_API_TOKEN and restart the workers; new tokens go to "
            "Replicate.",
            codes=("401", "403"),
        ),
        _Rule(
            "The server's model takes no prompt and seed as we send them: look at "
            "SELFHOSTED_IMAGE_API_URL and at its model; new tokens go to Replicate.",
            codes=("unfit_model",),
        ),
    ),
}
# What is done about everything else.
_OTHERWISE: Final[dict[str, str]] = {
    "replicate": "Wait, and see Replicate's status page: it goes on by itself, no attempt is lost.",
    "replicate_listing": "Only tokens whose reply was lost wait for it, and go on by themselves.",
    "replicate_reads": "Wait, and see Replicate's status page: what is paid for is read later.",
    "pinata": "Wait, and see Pinata's status page: uploads go on by themselves.",
    "chain": "Is the node of RPC_URL up? Reveals go on by themselves when it answers.",
    "rpc": "Is the node of RPC_URL up? Nothing is lost: it is read from where it ended.",
    "gateway": "Open a file at the gateway; a second one in PINATA_GATEWAY takes over.",
    "opensea": "Nothing: it is asked again by itself; reveals are not concerned.",
    "selfhosted": "Look at the server's /health-check; new tokens go to Replicate.",
}


def advice_for_breaker(name: str, refusal: BreakerState) -> str:
    """Return what to do about an open breaker, or an empty text for one that nobody knows."""
    if name not in _RULES:
        return ""
    rules = (*_RULES[name], _SETTING)
    return next((rule.advice for rule in rules if rule.fits(refusal)), _OTHERWISE[name])


def reason_for_breaker(name: str, reason: str) -> str:
    """Return a breaker's reason, without the client's general hint where we know better."""
    return reason.partition(_HINT)[0] if name in _RULES else reason
