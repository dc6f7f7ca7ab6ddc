"""What is wrong when a breaker is open, in a few words, and what an operator does about it.

The runbook says the same at more length.
"""

from __future__ import annotations

from typing import Final

from glisk.breaker import BreakerState
from glisk.errors import ProviderError

_AGAIN: Final = "It is tried again within a minute, or at once by Try now."
_SETTING: Final = (
    "its URL or key in the settings cannot be sent",
    "Correct the URL or key in the settings and restart web and workers.",
)
_MISFIT: Final = (
    "the node is of another chain, or knows no contract",
    "NETWORK, RPC_URL and GLISK_NFT_CONTRACT_ADDRESS must belong together: correct them and "
    "restart web and workers.",
)
_NODE: Final = {
    "401, 402, 403, account": (
        "the node refuses our key",
        "The node's provider refuses the key or its plan is used up: correct RPC_URL or "
        "ALCHEMY_API_KEY and restart web and workers, or raise the plan there.",
    ),
    "429": (
        "the node limits our calls",
        "Nothing: the node is asked more slowly. A bigger plan at its provider is faster.",
    ),
    "~": (
        "the node is unavailable",
        "Is the node of RPC_URL up? Nothing is lost: mints and reveals go on when it answers.",
    ),
}

# Whichever of its breakers it opens: one node has one fault.
NODE_PROBLEMS: Final = {_MISFIT[0], *(problem for problem, _ in _NODE.values())}

_KEEPER: Final = {
    "~keeper_role": (
        "the keeper has no KEEPER_ROLE",
        "Have the contract's admin grant KEEPER_ROLE to the keeper's address.",
    ),
    "no_funds, ~eth. send, ~cannot pay, ~has 0": (
        "the keeper has too little ETH",
        "Send ETH to the keeper's address; reveals go on within half a minute.",
    ),
    "~gwei": (
        "gas costs more than our limit",
        "Wait until gas is cheaper, or raise REVEAL_MAX_GAS_PRICE_GWEI and restart the workers.",
    ),
}
# Seen by the look at the keeper, and again when a batch is composed; what each is about, in a word.
_ROLE, _FUNDS, GAS_PROBLEM = (problem for problem, _ in _KEEPER.values())
KEEPER_PROBLEMS: Final = {_ROLE: "role", _FUNDS: "funds", GAS_PROBLEM: "gas"}

# By breaker, in order: the signs of a refusal, what is wrong, and what to do. A sign is a status, a
# code or, after "~", a part of the words: the vendor's, and where it said nothing the client's own
# about the node. The last one is for everything else. Breakers of which the same is wrong are told
# of once (console.overview.troubles).
_ADVICE: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "replicate": {
        "401": (
            "Replicate refuses our key",
            f"Set a valid REPLICATE_API_TOKEN, restart web and workers. {_AGAIN}",
        ),
        # Before credit, of which Replicate's words on a low rate speak, too.
        "429": (
            "Replicate limits our calls",
            "Nothing: calls are made at the pace that Replicate bears. To be faster raise the "
            "account's credit or limit there; WORKER_BATCH_SIZE does not matter.",
        ),
        "402, ~insufficient credit, ~spend limit": (
            "the account at Replicate has no credit",
            f"Buy credit or raise the spend limit at Replicate. {_AGAIN}",
        ),
        "model_version, model_not_found": (
            "Replicate does not know the model",
            "Correct REPLICATE_MODEL_VERSION and restart the workers; a version needs a payment "
            "method.",
        ),
        "403": (
            "Replicate forbids our calls",
            f"Replicate forbids it: check the token's rights and the account there. {_AGAIN}",
        ),
        "~": (
            "Replicate is unavailable",
            "Wait, and see Replicate's status page: it goes on automatically, no attempt is lost.",
        ),
    },
    "replicate_listing": {
        "401, 403, 404, 405": (
            "Replicate refuses to list predictions",
            "May the token of REPLICATE_API_TOKEN list predictions? Only tokens whose reply was "
            "lost wait for it; all others go on.",
        ),
        "~": (
            "Replicate is unavailable",
            "Only tokens whose reply was lost wait for it; they go on automatically.",
        ),
    },
    "replicate_reads": {
        "401, 403": (
            "Replicate does not say how predictions end",
            "May the token of REPLICATE_API_TOKEN read predictions? Nothing new is paid for until "
            "it may, since nobody would see the images.",
        ),
        "~": (
            "Replicate is unavailable",
            "Wait, and see Replicate's status page: what is paid for is read later.",
        ),
    },
    "pinata": {
        "NO_SCOPES_FOUND, ~scope": (
            "the key at Pinata may not pin files",
            "The key lacks pinFileToIPFS: create one with the legacy pinning scopes, set "
            "PINATA_JWT, restart web and workers.",
        ),
        "401, INVALID_CREDENTIALS, API_KEY_REVOKED": (
            "Pinata refuses our key",
            "Create a key with the legacy pinning scopes at Pinata, set PINATA_JWT, restart web "
            f"and workers. {_AGAIN}",
        ),
        "429": (
            "Pinata limits our calls",
            "Nothing: calls are made at the pace that Pinata bears. A bigger plan is faster.",
        ),
        "402, ~plan, ~blocked, ~usage limit": (
            "the plan at Pinata is full",
            "The plan is full: upgrade it or unpin files at Pinata; uploads go on automatically.",
        ),
        "403": (
            "Pinata forbids our calls",
            f"Pinata forbids it: check the key and the plan there. {_AGAIN}",
        ),
        "~": (
            "Pinata is unavailable",
            "Wait, and see Pinata's status page: uploads go on automatically.",
        ),
    },
    "chain": {
        **_KEEPER,
        "~no contract, ~on chain": _MISFIT,
        **_NODE,
    },
    "rpc": {"~no contract, ~on chain, ~cannot have counted": _MISFIT, **_NODE},
    "gateway": {
        "401, ~gateway token": (
            "the IPFS gateway wants a key",
            "Set PINATA_GATEWAY_TOKEN, or another PINATA_GATEWAY, and restart the workers.",
        ),
        "~": (
            "the IPFS gateway is unavailable",
            "Open a file at the gateway; a second one in PINATA_GATEWAY takes over.",
        ),
    },
    "signer": {
        "AccessDeniedException": (
            "AWS KMS refuses the worker",
            "Allow kms:Sign on the key to the worker's AWS identity. It is tried again within "
            "half a minute.",
        ),
        "DisabledException, KMSInvalidStateException": (
            "the key in AWS KMS is disabled",
            "Enable the key in AWS KMS, or cancel its deletion; reveals go on within half a "
            "minute.",
        ),
        "NotFoundException": (
            "AWS KMS does not know the key",
            "Correct KEEPER_KMS_KEY_ID or AWS_REGION and restart the workers.",
        ),
        "wrong_key, key_spec, InvalidKeyUsageException, ValidationException": (
            "the keeper's key is of a wrong kind",
            "The key must be of the kind ECC_SECG_P256K1 for SIGN_VERIFY, and KEEPER_ADDRESS its "
            "address (manage.py check_setup tells it): correct the settings and restart the "
            "workers.",
        ),
        "unreadable_key": (
            "the keeper's key cannot be read",
            "Let the worker's user read the file of KEEPER_PRIVATE_KEY_FILE.",
        ),
        "ThrottlingException, 429": (
            "AWS KMS limits our calls",
            "Nothing: it is asked more slowly.",
        ),
        "aws_setup, ~": (
            "AWS KMS is unavailable",
            "Is AWS KMS up, and do the worker's AWS region and credentials hold? No attempt is "
            "lost, and reveals go on when it answers.",
        ),
    },
    "opensea": {
        "401, 402, 403": (
            "OpenSea refuses our key",
            "Correct OPENSEA_API_KEY and restart the workers; reveals are not concerned.",
        ),
        "~": (
            "OpenSea is unavailable",
            "Nothing: it is asked again automatically; reveals are not concerned.",
        ),
    },
    "selfhosted": {
        "401, 403": (
            "the server refuses our key",
            "Correct SELFHOSTED_IMAGE_API_TOKEN and restart the workers; new tokens go to "
            "Replicate.",
        ),
        "unfit_model": (
            "the server's model takes no prompt and seed",
            "The server's model takes no prompt and seed as we send them: check "
            "SELFHOSTED_IMAGE_API_URL and its model; new tokens go to Replicate.",
        ),
        "~": (
            "the server is unavailable",
            "Check the server's /health-check; new tokens go to Replicate.",
        ),
    },
}


def problem_of_breaker(name: str, refusal: BreakerState) -> str:
    """Return what is wrong, in a few words; empty for a breaker that nobody knows."""
    return _entry(name, refusal)[0]


def advice_for_breaker(name: str, refusal: BreakerState) -> str:
    """Return what to do about an open breaker, or an empty text for one that nobody knows."""
    return _entry(name, refusal)[1]


def explain_refusal(vendor: str, error: ProviderError) -> str:
    """Return what a call met and what to do about it, where nothing tries it again but a person."""
    refusal = BreakerState(
        status=error.status, code=error.code or "", said=error.said, reason=str(error)
    )
    advice = advice_for_breaker(vendor, refusal).removesuffix(_AGAIN).strip()
    met = str(error).rstrip()
    return f"{met}{'' if met.endswith('.') else '.'} {advice}".strip()


def headline_with_problem(effects: list[str], problem: str) -> str:
    """Return `Uploads paused: Pinata refuses our key`; each effect once."""
    first, *others = dict.fromkeys(effects)
    stopped = ", ".join([first, *(f"{effect[0].lower()}{effect[1:]}" for effect in others)])
    return f"{stopped}: {problem}" if problem else stopped


def _entry(name: str, refusal: BreakerState) -> tuple[str, str]:
    if name in _ADVICE and refusal.code == "unusable_setting":
        return _SETTING
    words = refusal.said
    if name in ("chain", "rpc"):
        words = "" if refusal.said else refusal.reason
    for signs, entry in _ADVICE.get(name, {}).items():
        for sign in signs.split(", "):
            is_word, part = sign.startswith("~"), sign.removeprefix("~")
            if part in words.lower() if is_word else sign in (refusal.code, str(refusal.status)):
                return entry
    return "", ""
