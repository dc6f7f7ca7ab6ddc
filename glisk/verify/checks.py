"""What has to hold for a token's provenance; each check is one line of the verifier's answer.

Some follow from the bundle alone: its metadata is bound to the URI on chain by its CID, and says
what made the image. The rest is read at a gateway and at a node.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from glisk.cid import cid_matches
from glisk.verify import canonical_json, prompt_digest
from glisk.verify.form import fault_of_form, unchecked
from glisk.verify.sources import CONTRACTS, Gateway, Node, Unreachable

Bundle = Mapping[str, Any]

# keccak256 of BatchMinted(address,address,uint256,uint256,uint256), of TokensRevealed(uint256[]).
_MINTED: Final = "0x20c0d4a5bab7118059cf1d2fd0403c4f29a05e446d435b347f90b80778374c54"
_REVEALED: Final = "0x5f36dfedf769ad12bf71aec843edc397276a255b70d51016d99f5fb020dfd902"
# What the metadata says of how the image was made.
_ORIGIN: Final = ("model", "prediction", "prompt_sha256", "seed")
_UNREADABLE: Final = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


class Verdict(StrEnum):
    HOLDS = "holds"
    FALSE = "false"
    UNKNOWN = "unknown"  # a source did not answer, or not usably
    UNTOLD = "untold"  # nobody says it, or nobody can check it


@dataclass(frozen=True)
class Check:
    what: str
    verdict: Verdict
    detail: str = ""


def verify(
    bundle: Any, *, gateway: Gateway | None, node: Node | None, contract: str = ""
) -> Iterator[Check]:
    """Yield the checks in their order; without a gateway or a node those that need none.

    `contract` is the one that is meant, GLISK's on the bundle's chain by default.
    """
    fault = fault_of_form(bundle)
    yield _holds("The bundle is whole and of a known version", not fault, fault)
    if fault:
        return
    yield _contract(bundle, contract or CONTRACTS.get(bundle["chain_id"], ""))
    yield from _read("The bundle can be read", _of_itself(bundle), nonsense=Verdict.FALSE)
    if gateway is not None:
        yield from _read("The image at the gateway", _image(bundle, gateway))
        yield from _read("The metadata at the gateway", _metadata(bundle, gateway))
    if node is not None:
        yield from _read("The node's answers", _on_chain(bundle, node))
    if names := unchecked(bundle):
        yield Check("Only told, and checked by nobody", Verdict.UNTOLD, ", ".join(names))


def _read(
    what: str, checks: Iterator[Check], *, nonsense: Verdict = Verdict.UNKNOWN
) -> Iterator[Check]:
    """Yield the checks. Nonsense in a bundle is false; that of a source says nothing of it."""
    try:
        yield from checks
    except Unreachable as error:
        yield Check(what, Verdict.UNKNOWN, str(error))
    except _UNREADABLE as error:
        yield Check(what, nonsense, f"not readable: {type(error).__name__}: {error}")


def _contract(bundle: Bundle, wanted: str) -> Check:
    what = "The contract is the one that is meant"
    if not wanted:
        return Check(what, Verdict.UNKNOWN, "name it: --contract 0x…")
    return _equal(what, wanted.lower(), bundle["contract"].lower())


def _of_itself(bundle: Bundle) -> Iterator[Check]:
    image, metadata, made = bundle["image"], bundle["metadata"], bundle["generation"]
    text = metadata["text"]
    yield _holds("The metadata has its CID", cid_matches(text.encode(), metadata["cid"]))
    document = json.loads(text)
    # A key that stands there twice may mean one thing to us and another one to a marketplace.
    yield _holds("The metadata is canonical JSON", canonical_json(document) == text)
    yield _equal("The metadata names the image", document["image"], f"ipfs://{image['cid']}")
    number = document["name"].rpartition("#")[2]
    yield _equal("The metadata names the token", number, str(bundle["token_id"]))
    told = document.get("provenance") or {}
    for key in _ORIGIN:
        what = f"The metadata binds the {key.removesuffix('_sha256')}"
        if key in told:
            yield _equal(what, told[key], made[key])
        else:
            yield Check(what, Verdict.UNTOLD, "metadata of this age do not tell it")
    what = "The prompt is the one that was bound"
    yield from _read(what, _prompt(what, made, told), nonsense=Verdict.FALSE)


def _prompt(what: str, made: Bundle, told: Mapping[str, str]) -> Iterator[Check]:
    if "prompt" not in made:
        yield Check(what, Verdict.UNTOLD, "it is private")
    elif "prompt_sha256" not in told:
        yield Check(what, Verdict.UNTOLD, "metadata of this age bind none")
    else:
        digest = prompt_digest(salt=made["prompt_salt"], prompt=made["prompt"])
        yield _holds(what, digest == told["prompt_sha256"])


def _image(bundle: Bundle, gateway: Gateway) -> Iterator[Check]:
    image = bundle["image"]
    data = gateway.read(image["cid"])
    yield _holds("The image's bytes have its CID", True)
    found = hashlib.sha256(data).hexdigest()
    yield _equal("The image's bytes have the SHA-256", found, image["sha256"])
    yield _equal("The image has this size", len(data), image["size_bytes"])


def _metadata(bundle: Bundle, gateway: Gateway) -> Iterator[Check]:
    found = gateway.read(bundle["metadata"]["cid"])
    same = found == bundle["metadata"]["text"].encode()
    yield _holds("The metadata at the gateway are these bytes", same)


def _on_chain(bundle: Bundle, node: Node) -> Iterator[Check]:
    chain_id = node.chain_id()
    yield _equal("The node is of this chain", chain_id, bundle["chain_id"])
    if chain_id == bundle["chain_id"]:
        yield from _read("The token on chain", _token(bundle, node))
        yield from _read("The mint on chain", _mint(bundle, node))
        yield from _read("The reveal on chain", _reveal(bundle, node))


def _token(bundle: Bundle, node: Node) -> Iterator[Check]:
    contract, token_id = bundle["contract"], bundle["token_id"]
    yield _holds("The token is revealed", node.is_revealed(contract, token_id))
    author = node.author(contract, token_id)
    yield _equal("The token's author is this wallet", author, bundle["author"].lower())
    uri = node.token_uri(contract, token_id)
    yield _equal("The token's URI is this metadata", uri, f"ipfs://{bundle['metadata']['cid']}")


def _mint(bundle: Bundle, node: Node) -> Iterator[Check]:
    mint, token_id = bundle["mint"], bundle["token_id"]
    receipt = node.receipt(mint["transaction"])
    logs = [
        log
        for log in _logs(receipt, bundle["contract"], _MINTED)
        if int(log["logIndex"], 16) == mint["log_index"]
    ]
    yield _holds("The mint is on chain", bool(logs), "no such log in such a transaction")
    if receipt is None or not logs:
        return
    topics, data = logs[0]["topics"], logs[0]["data"]
    first, quantity = int(topics[3], 16), int(data[2:66], 16)
    others = f"it is of the tokens {first} to {first + quantity - 1}"
    yield _holds("The mint is of this token", first <= token_id < first + quantity, others)
    for topic, name in ((topics[1], "minter"), (topics[2], "author")):
        found = "0x" + topic[-40:].lower()
        yield _equal(f"The mint's {name} is this wallet", found, bundle[name].lower())
    yield _block("mint", receipt, mint)
    minted_at = int(datetime.fromisoformat(mint["minted_at"]).timestamp())
    yield _equal("The mint's block has this time", node.block_time(mint["block_hash"]), minted_at)


def _reveal(bundle: Bundle, node: Node) -> Iterator[Check]:
    """The contract lets only keepers reveal, so its log in what a wallet sent is the proof."""
    reveal, contract = bundle["reveal"], bundle["contract"].lower()
    receipt = node.receipt(reveal["transaction"])
    revealed: set[int] = set()
    for log in _logs(receipt, contract, _REVEALED):
        ids = bytes.fromhex(log["data"][2:])  # after where the list begins, and its length
        revealed |= {int.from_bytes(ids[at : at + 32]) for at in range(64, len(ids), 32)}
    yield _holds("The reveal is on chain", bundle["token_id"] in revealed, "not by this one")
    if receipt is None:
        return
    ways = str(receipt["from"]).lower(), str(receipt["to"]).lower()
    yield _equal("The reveal is by this keeper", ways, (reveal["keeper"].lower(), contract))
    yield _block("reveal", receipt, reveal)


def _block(name: str, receipt: Mapping[str, Any], told: Mapping[str, Any]) -> Check:
    found = int(receipt["blockNumber"], 16), receipt["blockHash"].lower()
    wanted = told["block_number"], told["block_hash"].lower()
    return _equal(f"The {name}'s block is this one", found, wanted)


def _logs(receipt: Mapping[str, Any] | None, contract: str, topic: str) -> list[Any]:
    """Return the contract's logs of this kind of a transaction that succeeded."""
    if receipt is None or int(receipt["status"], 16) != 1:
        return []
    wanted = contract.lower(), topic
    return [
        log
        for log in receipt["logs"]
        if (log["address"].lower(), (log["topics"] or [""])[0].lower()) == wanted
    ]


def _holds(what: str, holds: bool, otherwise: str = "") -> Check:
    return Check(what, Verdict.HOLDS) if holds else Check(what, Verdict.FALSE, otherwise)


def _equal(what: str, found: object, told: object) -> Check:
    return _holds(what, found == told, f"it is {found}, the bundle says {told}")
