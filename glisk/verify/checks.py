"""What has to hold for a token's provenance; each check is one line of the verifier's answer.

Some follow from the bundle alone: its metadata is bound to the URI on chain by its CID, and says
what made the image. The rest is read at a gateway and at a node.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from glisk.cid import cid_matches
from glisk.verify import FORMAT, VERSION, prompt_digest
from glisk.verify.sources import Gateway, Node, Unreachable

Bundle = Mapping[str, Any]

# keccak256 of BatchMinted(address,address,uint256,uint256,uint256), of TokensRevealed(uint256[]).
_MINTED: Final = "0x20c0d4a5bab7118059cf1d2fd0403c4f29a05e446d435b347f90b80778374c54"
_REVEALED: Final = "0x5f36dfedf769ad12bf71aec843edc397276a255b70d51016d99f5fb020dfd902"
# What the metadata says of how the image was made.
_ORIGIN: Final = ("model", "prediction", "prompt_sha256", "seed")
# The parts of a bundle with their texts and whole numbers.
_TEXTS: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("contract", "author", "minter"),
    "mint": ("transaction", "block_hash", "minted_at"),
    "generation": ("model", "prediction", "prompt_sha256"),
    "image": ("cid", "sha256"),
    "metadata": ("cid", "text"),
    "reveal": ("transaction", "block_hash", "keeper"),
}
_NUMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("chain_id", "token_id"),
    "mint": ("log_index", "block_number"),
    "generation": ("seed",),
    "reveal": ("block_number",),
}


_UNREADABLE: Final = (ValueError, LookupError, TypeError, AttributeError)


class Verdict(StrEnum):
    HOLDS = "holds"
    FALSE = "false"
    UNKNOWN = "unknown"  # a source did not answer, or is silent about it


@dataclass(frozen=True)
class Check:
    what: str
    verdict: Verdict
    detail: str = ""


def verify(bundle: Any, *, gateway: Gateway | None, node: Node | None) -> Iterator[Check]:
    """Yield the checks in their order; without a gateway or a node those that need none."""
    if fault := _fault_of_form(bundle):
        yield Check("The bundle is whole and of a known version", Verdict.FALSE, fault)
        return
    yield Check("The bundle is whole and of a known version", Verdict.HOLDS)
    yield from _readable(_of_itself(bundle))
    if gateway is not None:
        yield from _readable(_at_gateway(bundle, gateway))
    if node is not None:
        yield from _readable(_on_chain(bundle, node))


def _readable(checks: Iterator[Check]) -> Iterator[Check]:
    """Yield the checks; what cannot be read, in the bundle or in an answer, is no proof."""
    try:
        yield from checks
    except _UNREADABLE as error:
        yield Check("All of it can be read", Verdict.FALSE, f"{type(error).__name__}: {error}")


def _fault_of_form(bundle: Any) -> str:
    if not isinstance(bundle, dict) or bundle.get("format") != FORMAT:
        return f"it is no {FORMAT}"
    if bundle.get("version") != VERSION:
        return f"version {bundle.get('version')} is not known; this program knows {VERSION}"
    for kind, table in ((str, _TEXTS), (int, _NUMBERS)):
        for part, names in table.items():
            found = bundle if not part else bundle.get(part)
            for name in names:
                if not isinstance(found, dict) or not isinstance(found.get(name), kind):
                    return f"{part + '.' if part else ''}{name} is missing, or of another type"
    return ""


def _of_itself(bundle: Bundle) -> Iterator[Check]:
    image, metadata, made = bundle["image"], bundle["metadata"], bundle["generation"]
    yield _check(
        "The metadata has its CID", lambda: cid_matches(metadata["text"].encode(), metadata["cid"])
    )
    try:
        document = json.loads(metadata["text"])
        told = document.get("provenance") or {}
        names, name = document.get("image"), str(document.get("name"))
    except (ValueError, AttributeError):
        yield Check("The metadata is a JSON object", Verdict.FALSE)
        return
    yield _equal("The metadata names the image", names, f"ipfs://{image['cid']}")
    yield _equal("The metadata names the token", name.rpartition("#")[2], str(bundle["token_id"]))
    for key in _ORIGIN:
        what = f"The metadata binds the {key.replace('_sha256', '')}"
        if key in told:
            yield _equal(what, told[key], made[key])
        else:
            yield Check(what, Verdict.UNKNOWN, "metadata of this age do not tell it")
    if isinstance(made.get("prompt"), str):
        yield _check(
            "The prompt is the one that was bound",
            lambda: (
                prompt_digest(salt=made["prompt_salt"], prompt=made["prompt"])
                == made["prompt_sha256"]
            ),
        )
    else:
        yield Check("The prompt is the one that was bound", Verdict.UNKNOWN, "it is private")


def _at_gateway(bundle: Bundle, gateway: Gateway) -> Iterator[Check]:
    image, metadata = bundle["image"], bundle["metadata"]
    try:
        data = gateway.read(image["cid"])
    except Unreachable as error:
        yield Check("The image at the gateway is this one", Verdict.UNKNOWN, str(error))
    else:
        found = hashlib.sha256(data).hexdigest()
        yield _equal("The image's bytes have the SHA-256", found, image["sha256"])
        yield _check("The image's bytes have its CID", lambda: cid_matches(data, image["cid"]))
    yield _check(
        "The metadata at the gateway are these bytes",
        lambda: gateway.read(metadata["cid"]) == metadata["text"].encode(),
    )


def _on_chain(bundle: Bundle, node: Node) -> Iterator[Check]:
    try:
        chain_id = node.chain_id()
    except Unreachable as error:
        yield Check("The node is of this chain", Verdict.UNKNOWN, str(error))
        return
    yield _equal("The node is of this chain", chain_id, bundle["chain_id"])
    if chain_id != bundle["chain_id"]:
        return
    contract, token_id = bundle["contract"], bundle["token_id"]
    yield _check("The token is revealed", lambda: node.is_revealed(contract, token_id))
    uri = f"ipfs://{bundle['metadata']['cid']}"
    yield _equal_to(
        "The token's URI is this metadata", lambda: node.token_uri(contract, token_id), uri
    )
    author = bundle["author"].lower()
    yield _equal_to(
        "The token's author is this wallet", lambda: node.author(contract, token_id), author
    )
    yield from _mint(bundle, node)
    yield from _reveal(bundle, node)


def _mint(bundle: Bundle, node: Node) -> Iterator[Check]:
    mint, token_id = bundle["mint"], bundle["token_id"]
    what = "The mint is on chain"
    try:
        receipt = node.receipt(mint["transaction"])
    except Unreachable as error:
        yield Check(what, Verdict.UNKNOWN, str(error))
        return
    log = _log(receipt, bundle["contract"], _MINTED, mint["log_index"])
    if receipt is None or log is None:
        yield Check(what, Verdict.FALSE, "there is no such log in such a transaction")
        return
    first, quantity = int(log["topics"][3], 16), int(log["data"][2:66], 16)
    told = f"it is of the tokens {first} to {first + quantity - 1}"
    covers = first <= token_id < first + quantity
    yield Check(what, Verdict.HOLDS if covers else Verdict.FALSE, "" if covers else told)
    for place, name in enumerate(("minter", "author"), 1):
        found = "0x" + log["topics"][place][-40:].lower()
        yield _equal(f"The mint's {name} is this wallet", found, bundle[name].lower())
    yield from _block("mint", mint, receipt)
    minted_at = datetime.fromisoformat(mint["minted_at"])
    yield _equal_to(
        "The mint's block has this time",
        lambda: node.block_time(mint["block_hash"]),
        int(minted_at.timestamp()),
    )


def _reveal(bundle: Bundle, node: Node) -> Iterator[Check]:
    reveal, token_id = bundle["reveal"], bundle["token_id"]
    what = "The reveal is on chain"
    try:
        receipt = node.receipt(reveal["transaction"])
    except Unreachable as error:
        yield Check(what, Verdict.UNKNOWN, str(error))
        return
    log = _log(receipt, bundle["contract"], _REVEALED)
    if receipt is None or log is None:
        yield Check(what, Verdict.FALSE, "there is no such transaction that revealed anything")
        return
    ids = bytes.fromhex(log["data"][2:])
    revealed = {int.from_bytes(ids[at : at + 32]) for at in range(64, len(ids), 32)}
    yield _check(what, lambda: token_id in revealed)
    yield _equal("The reveal is by this keeper", receipt["from"].lower(), reveal["keeper"].lower())
    yield from _block("reveal", reveal, receipt)


def _block(name: str, told: Mapping[str, Any], receipt: Mapping[str, Any]) -> Iterator[Check]:
    found = int(receipt["blockNumber"], 16), receipt["blockHash"].lower()
    yield _equal(
        f"The {name}'s block is this one",
        found,
        (told["block_number"], told["block_hash"].lower()),
    )


def _log(
    receipt: Mapping[str, Any] | None, contract: str, topic: str, index: int | None = None
) -> Any:
    """Return the contract's log of this kind (at this index) of a transaction that succeeded."""
    if receipt is None or int(receipt["status"], 16) != 1:
        return None
    for log in receipt["logs"]:
        kind = log["address"].lower(), (log["topics"] or [""])[0].lower()
        if kind == (contract.lower(), topic) and index in (None, int(log["logIndex"], 16)):
            return log
    return None


def _check(what: str, holds: Callable[[], bool]) -> Check:
    """Make a check of what can fail in any way: what cannot be read does not hold."""
    try:
        return Check(what, Verdict.HOLDS if holds() else Verdict.FALSE)
    except Unreachable as error:
        return Check(what, Verdict.UNKNOWN, str(error))
    except _UNREADABLE as error:
        return Check(what, Verdict.FALSE, f"it cannot be read: {error}")


def _equal(what: str, found: object, told: object) -> Check:
    if found == told:
        return Check(what, Verdict.HOLDS)
    return Check(what, Verdict.FALSE, f"it is {found}, the bundle says {told}")


def _equal_to(what: str, find: Callable[[], object], told: object) -> Check:
    try:
        return _equal(what, find(), told)
    except Unreachable as error:
        return Check(what, Verdict.UNKNOWN, str(error))
