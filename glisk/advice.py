"""What an operator does about a fault: one sentence, beside what the vendor said.

The runbook says the same at more length; a test holds the classes of both together.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Refusal(NamedTuple):
    """What is known of a refusal: HTTP status, code and the vendor's own words, and our text.

    `text` counts only where the vendor said nothing: it is a fault that we found ourselves.
    """

    status: int | None = None
    code: str = ""
    said: str = ""
    text: str = ""


class _Rule(NamedTuple):
    """Refusals by status or code, by the vendor's words, or by ours (in lower case)."""

    advice: str
    codes: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()

    def fits(self, refusal: Refusal) -> bool:
        if refusal.code in self.codes or str(refusal.status) in self.codes:
            return True
        if refusal.said:
            return any(word in refusal.said.lower() for word in self.said)
        ours = refusal.text.partition(_HINT)[0].lower()
        return any(word in ours for word in self.ours)


# Clients put what their caller may do about an error behind this.
_HINT: Final = " | "

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

# By breaker: the rules, of which the first that fits counts, and the advice for all else.
_BREAKERS: Final[dict[str, tuple[tuple[_Rule, ...], str]]] = {
    "replicate": (
        (
            _Rule(
                "Set a valid REPLICATE_API_TOKEN, restart web and workers. It is tried again "
                "within a minute, or at once by Controls, Call again.",
                codes=("401",),
            ),
            # Before credit, of which Replicate's words on a low rate speak, too.
            _Rule(
                "Nothing: calls are made at the pace that Replicate bears. To be faster raise the "
                "account's credit or limit there; WORKER_BATCH_SIZE does not matter.",
                codes=("429",),
            ),
            _Rule(
                "Buy credit or raise the spend limit at Replicate. It is tried again within a "
                "minute, or at once by Controls, Call again.",
                codes=("402",),
                said=("insufficient credit", "spend limit"),
            ),
            _Rule(
                "Correct REPLICATE_MODEL_VERSION and restart the workers; a version needs a "
                "payment method.",
                codes=("model_version", "model_not_found"),
            ),
            _Rule(
                "Replicate forbids it: look at the token's rights and at the account there. It is "
                "tried again within a minute, or at once by Controls, Call again.",
                codes=("403",),
            ),
        ),
        "Wait, and see Replicate's status page: it goes on by itself, no attempt is lost.",
    ),
    "replicate_listing": (
        (
            _Rule(
                "May the token of REPLICATE_API_TOKEN list predictions? Only tokens whose reply "
                "was lost wait for it; all others go on.",
                codes=("401", "403", "404", "405"),
            ),
        ),
        "Only tokens whose reply was lost wait for it, and go on by themselves.",
    ),
    "replicate_reads": (
        (
            _Rule(
                "May the token of REPLICATE_API_TOKEN read predictions? Nothing new is paid for "
                "until it may, since nobody would see the images.",
                codes=("401", "403"),
            ),
        ),
        "Wait, and see Replicate's status page: what is paid for is read when it answers.",
    ),
    "pinata": (
        (
            _Rule(
                "The key lacks pinFileToIPFS: create one with the legacy pinning scopes, set "
                "PINATA_JWT, restart web and workers.",
                codes=("NO_SCOPES_FOUND",),
                said=("scope",),
            ),
            _Rule(
                "Create a key with the legacy pinning scopes at Pinata, set PINATA_JWT, restart "
                "web and workers. It is tried again within a minute, or at once by Controls, Call "
                "again.",
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
                "Pinata forbids it: look at the key and at the plan there. It is tried again "
                "within a minute, or at once by Controls, Call again.",
                codes=("403",),
            ),
        ),
        "Wait, and see Pinata's status page: uploads go on by themselves.",
    ),
    "chain": (
        (
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
        "Is the node of RPC_URL up? Reveals go on by themselves when it answers.",
    ),
    "rpc": (
        (
            _Rule(_MISFIT, ours=("no contract", "on chain", "cannot have counted")),
            _NODE_ACCOUNT,
            _NODE_LIMIT,
        ),
        "Is the node of RPC_URL up? Nothing is lost: it is read from where it ended.",
    ),
    "gateway": (
        (
            _Rule(
                "The gateway wants a key: set PINATA_GATEWAY_TOKEN, or another PINATA_GATEWAY, and "
                "restart the workers.",
                codes=("401",),
                said=("gateway token",),
            ),
        ),
        "Open a file at the gateway; a second one in PINATA_GATEWAY takes over.",
    ),
    "opensea": (
        (
            _Rule(
                "Correct OPENSEA_API_KEY and restart the workers; reveals are not concerned.",
                codes=("401", "402", "403"),
            ),
        ),
        "Nothing: it is asked again by itself; reveals are not concerned.",
    ),
    "selfhosted": (
        (
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
        "Look at the server's /health-check; new tokens go to Replicate.",
    ),
}

# What the same classes mean while a ready token waits for its reveal: nothing failed.
_AT_THE_GATE: Final[dict[str, str]] = {
    "artefact": "Open its files at the gateway (links on its page). Once the right bytes are there "
    "it goes by itself, within two minutes; a second gateway in PINATA_GATEWAY helps at once.",
    "transient": "Nothing, if gateway and node come back: it goes by itself, within two minutes.",
}

# What an open breaker stops, as a headline.
_HEADLINES: Final[dict[str, str]] = {
    "chain": "No reveal is sent",
    "gateway": "The IPFS gateway is not asked",
    "opensea": "OpenSea is not called",
    "replicate_listing": "Replicate's listing is not read",
    "replicate_reads": "Replicate does not say how predictions end",
    "rpc": "The chain is not read",
    "selfhosted": "The self-hosted image server is not called",
}
_NAMES: Final[dict[str, str]] = {
    "chain": "Chain, sending reveals",
    "gateway": "IPFS gateway",
    "opensea": "OpenSea",
    "replicate_listing": "Replicate's listing",
    "replicate_reads": "Replicate, reading predictions",
    "rpc": "Chain, reading mints",
    "selfhosted": "Self-hosted image server",
}
_CLASSES: Final[dict[str, str]] = {
    "content_policy": (
        "A mint keeps the prompt it was made with, so only another FALLBACK_CENSORED_PROMPT helps: "
        "set it, restart the workers, then retry. Later mints need a new prompt of the author."
    ),
    "validation": "Correct the author's prompt (1 to 1,000 characters), then retry.",
    "transient": "The vendor failed it three times. It is tried again by itself, later and later: "
    "its page says when. After that, or to hurry it, retry it.",
    "artefact": "What came was no image, three times: retry, or change the prompt.",
    "no_image": "The model ended well without an image: look at the prediction and at "
    "REPLICATE_MODEL_VERSION, then retry.",
    "cid_mismatch": "Pinata stored other bytes. Compare the pinned file, then retry.",
    "author_differs": "Recheck it; if it stays, compare the contract with the mint.",
    "already_revealed": "It cannot be changed. Find out who else holds KEEPER_ROLE.",
    "would_revert": "The reason is the contract's. Recheck it, then retry.",
    "stalled": "It killed its worker again and again: read the workers' logs, then retry.",
    "storage": "The image's bytes are gone: regenerate it.",
    "operator": "Somebody gave it up; the reason stands in the timeline. A retry lets it go on.",
    "unexpected": "A fault of this program: the worker's log has the traceback. Then retry.",
    "unconfirmed": "Nothing to do: its mint waits for confirmations.",
    "not_minted": "The node lags or a reorg took the mint: compare it with an explorer.",
    "reorged": "The node lags or a reorg took the mint: compare it with an explorer.",
}


def advice_for_breaker(name: str, refusal: Refusal) -> str:
    """Return what to do about an open breaker, or an empty text for one that nobody knows."""
    if name not in _BREAKERS:
        return ""
    rules, otherwise = _BREAKERS[name]
    return next((rule.advice for rule in (*rules, _SETTING) if rule.fits(refusal)), otherwise)


def name_of_breaker(name: str) -> str:
    """Return what a breaker guards, in words."""
    return _NAMES.get(name, name.capitalize())


def headline_for_breaker(name: str) -> str:
    """Return what does not happen while a breaker is open."""
    return _HEADLINES.get(name, f"{name_of_breaker(name)} is not called")


def reason_for_breaker(name: str, reason: str) -> str:
    """Return a breaker's reason, without the client's general hint where we know better."""
    return reason.partition(_HINT)[0] if name in _BREAKERS else reason


def advice_for_class(error_class: str) -> str:
    """Return what to do about a token's error class, or an empty text."""
    return _CLASSES.get(error_class, "")


def advice_for_waiting(error_class: str) -> str:
    """Return what to do about a token that the gate turned away, and that is tried again."""
    return _AT_THE_GATE.get(error_class, "") or advice_for_class(error_class)


def known_classes() -> list[str]:
    return sorted(_CLASSES)
