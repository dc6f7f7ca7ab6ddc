"""What an operator does about an open breaker: one sentence, beside what the vendor said.

The runbook says the same at more length.
"""

from __future__ import annotations

from typing import Final

from glisk.breaker import BreakerState

# Clients put what their caller may do about an error behind this.
_HINT: Final = " | "

_AGAIN: Final = "It is tried again within a minute, or at once by Controls, Call again."
_SETTING: Final = (
    "Its URL or key in the settings holds something that cannot be sent: correct it and restart "
    "web and workers."
)
_MISFIT: Final = (
    "NETWORK, RPC_URL and GLISK_NFT_CONTRACT_ADDRESS must belong together: correct them and "
    "restart web and workers."
)
_NODE: Final = {
    "401, 402, 403, account": "The node's provider refuses the key or its plan is used up: correct "
    "RPC_URL or ALCHEMY_API_KEY and restart web and workers, or raise the plan there.",
    "429": "Nothing: the node is asked more slowly. A bigger plan at its provider is faster.",
}

# By breaker, in order: the signs of a refusal, and what to do. A sign is a status, a code or, after
# "~", a part of the words: the vendor's, and where it said nothing the client's own about the node.
# The last one is what is done about everything else.
_ADVICE: Final[dict[str, dict[str, str]]] = {
    "replicate": {
        "401": f"Set a valid REPLICATE_API_TOKEN, restart web and workers. {_AGAIN}",
        # Before credit, of which Replicate's words on a low rate speak, too.
        "429": "Nothing: calls are made at the pace that Replicate bears. To be faster raise the "
        "account's credit or limit there; WORKER_BATCH_SIZE does not matter.",
        "402, ~insufficient credit, ~spend limit": "Buy credit or raise the spend limit at "
        f"Replicate. {_AGAIN}",
        "model_version, model_not_found": "Correct REPLICATE_MODEL_VERSION and restart the "
        "workers; a version needs a payment method.",
        "403": f"Replicate forbids it: look at the token's rights and the account there. {_AGAIN}",
        "~": "Wait, and see Replicate's status page: it goes on by itself, no attempt is lost.",
    },
    "replicate_listing": {
        "401, 403, 404, 405": "May the token of REPLICATE_API_TOKEN list predictions? Only tokens "
        "whose reply was lost wait for it; all others go on.",
        "~": "Only tokens whose reply was lost wait for it, and go on by themselves.",
    },
    "replicate_reads": {
        "401, 403": "May the token of REPLICATE_API_TOKEN read predictions? Nothing new is paid "
        "for until it may, since nobody would see the images.",
        "~": "Wait, and see Replicate's status page: what is paid for is read later.",
    },
    "pinata": {
        "NO_SCOPES_FOUND, ~scope": "The key lacks pinFileToIPFS: create one with the legacy "
        "pinning scopes, set PINATA_JWT, restart web and workers.",
        "401, INVALID_CREDENTIALS, API_KEY_REVOKED": "Create a key with the legacy pinning scopes "
        f"at Pinata, set PINATA_JWT, restart web and workers. {_AGAIN}",
        "429": "Nothing: calls are made at the pace that Pinata bears. A bigger plan is faster.",
        "402, ~plan, ~blocked, ~usage limit": "The plan is full: upgrade it or unpin files at "
        "Pinata; it goes on by itself.",
        "403": f"Pinata forbids it: look at the key and at the plan there. {_AGAIN}",
        "~": "Wait, and see Pinata's status page: uploads go on by themselves.",
    },
    "chain": {
        "~keeper_role": "Have the contract's admin grant KEEPER_ROLE to the keeper's address.",
        "no_funds, ~eth. send, ~cannot pay, ~has 0": "Send ETH to the keeper's address; reveals go "
        "on within half a minute.",
        "~gwei": "Wait until gas is cheaper, or raise REVEAL_MAX_GAS_PRICE_GWEI and restart the "
        "workers.",
        "~no contract, ~on chain": _MISFIT,
        **_NODE,
        "~": "Is the node of RPC_URL up? Reveals go on by themselves when it answers.",
    },
    "rpc": {
        "~no contract, ~on chain, ~cannot have counted": _MISFIT,
        **_NODE,
        "~": "Is the node of RPC_URL up? Nothing is lost: it is read from where it ended.",
    },
    "gateway": {
        "401, ~gateway token": "The gateway wants a key: set PINATA_GATEWAY_TOKEN, or another "
        "PINATA_GATEWAY, and restart the workers.",
        "~": "Open a file at the gateway; a second one in PINATA_GATEWAY takes over.",
    },
    "signer": {
        "AccessDeniedException": "Allow kms:Sign on the key to the worker's AWS identity. It is "
        "tried again within half a minute.",
        "DisabledException, KMSInvalidStateException": "Enable the key in AWS KMS, or cancel its "
        "deletion; reveals go on within half a minute.",
        "NotFoundException": "Correct KEEPER_KMS_KEY_ID or AWS_REGION and restart the workers.",
        "wrong_key, key_spec, InvalidKeyUsageException, ValidationException": "The key must be of "
        "the kind ECC_SECG_P256K1 for SIGN_VERIFY, and KEEPER_ADDRESS its address (manage.py "
        "check_setup tells it): correct the settings and restart the workers.",
        "unreadable_key": "Let the worker's user read the file of KEEPER_PRIVATE_KEY_FILE.",
        "ThrottlingException, 429": "Nothing: it is asked more slowly.",
        "aws_setup, ~": "Is AWS KMS up, and do the worker's AWS region and credentials hold? No "
        "attempt is lost, and reveals go on when it answers.",
    },
    "opensea": {
        "401, 402, 403": "Correct OPENSEA_API_KEY and restart the workers; reveals are not "
        "concerned.",
        "~": "Nothing: it is asked again by itself; reveals are not concerned.",
    },
    "selfhosted": {
        "401, 403": "Correct SELFHOSTED_IMAGE_API_TOKEN and restart the workers; new tokens go to "
        "Replicate.",
        "unfit_model": "The server's model takes no prompt and seed as we send them: look at "
        "SELFHOSTED_IMAGE_API_URL and at its model; new tokens go to Replicate.",
        "~": "Look at the server's /health-check; new tokens go to Replicate.",
    },
}


def advice_for_breaker(name: str, refusal: BreakerState) -> str:
    """Return what to do about an open breaker, or an empty text for one that nobody knows."""
    if name in _ADVICE and refusal.code == "unusable_setting":
        return _SETTING
    words = refusal.said
    if name in ("chain", "rpc"):
        words = "" if refusal.said else refusal.reason.partition(_HINT)[0]
    for signs, advice in _ADVICE.get(name, {}).items():
        for sign in signs.split(", "):
            is_word, part = sign.startswith("~"), sign.removeprefix("~")
            if part in words.lower() if is_word else sign in (refusal.code, str(refusal.status)):
                return advice
    return ""


def reason_for_breaker(name: str, reason: str) -> str:
    """Return a breaker's reason, without the client's general hint where we know better."""
    return reason.partition(_HINT)[0] if name in _ADVICE else reason
