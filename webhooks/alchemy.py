"""Read an Alchemy event: which logs it holds, and which of them are mints of ours.

Each log gets a verdict of its own, whatever stands beside it, and an event in which nothing is
ours says why.

Shapes (https://www.alchemy.com/docs/reference/custom-webhook and …/address-activity-webhook):
`event.data.block.logs[]` of a GRAPHQL event, where only fields that the query named are present,
and `event.activity[].log` of the activity events, in the form of JSON-RPC. A raw log, which is
known by its own `address`, is read in either place; what it lacks, its block may tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from django.conf import settings
from rest_framework.exceptions import ParseError

from glisk.fields import is_address, is_hash
from tokens.minting.mint_log import (
    BATCH_MINTED_TOPIC,
    IncompleteLog,
    MalformedLog,
    MintLog,
    decode_mint_log,
)
from webhooks.authentication import plain_text, read_json_object

_MAX_ID_LENGTH: Final = 64


class Verdict(StrEnum):
    """What a log is, before anything is written; the outcomes of a mint join these later."""

    MINT = "mint"
    FOREIGN_CONTRACT = "foreign_contract"
    FOREIGN_EVENT = "foreign_event"
    REMOVED = "removed"  # the node took it back: a reorg
    INCOMPLETE = "incomplete"  # the webhook's query does not name all fields that we need
    MALFORMED = "malformed"


@dataclass(frozen=True)
class Finding:
    """One log of an event."""

    verdict: Verdict
    reason: str = ""
    mint: MintLog | None = None
    removed_tx: str = ""  # the transaction of a log that was taken back, as far as it is told


@dataclass(frozen=True)
class AlchemyEvent:
    """A signed event. `ignored` says why nothing in it concerns us, if that is so.

    `heartbeat` marks the empty message that comes for every block; it is not worth a row.
    """

    id: str = ""
    webhook_id: str = ""
    type: str = ""
    findings: list[Finding] = field(default_factory=list)
    ignored: str = ""
    heartbeat: bool = False
    over_capacity: bool = False

    @property
    def mints(self) -> list[MintLog]:
        return [finding.mint for finding in self.findings if finding.mint]

    @property
    def removed(self) -> list[str]:
        """Return the transactions whose mints a reorg is said to have taken."""
        return sorted({finding.removed_tx for finding in self.findings if finding.removed_tx})


def read_event(body: bytes) -> AlchemyEvent:
    """Return what a body holds; raise `ParseError` (400) if it is no object with a usable id."""
    payload = read_json_object(body)
    event_id = plain_text(payload.get("id"), max_length=_MAX_ID_LENGTH)
    if not event_id.strip():
        raise ParseError("The event has no usable id.")
    return replace(
        _read_contents(payload.get("event")),
        id=event_id,
        webhook_id=plain_text(payload.get("webhookId"), max_length=_MAX_ID_LENGTH),
        type=plain_text(payload.get("type"), max_length=40),
    )


def _read_contents(event: object) -> AlchemyEvent:
    # Alchemy's older messages name no network. Where one is named it must be ours, also on
    # LOCAL: a chain of another network cannot tell us of our mints.
    if _member(event, "network") not in (None, settings.NETWORK):
        return AlchemyEvent(ignored="it is of another network")
    block: Any = _member(_member(event, "data"), "block")
    logs = _member(block, "logs")
    activity = _member(event, "activity")
    if isinstance(activity, list):  # plain transfers of ether have no log
        block, logs = {}, [log for a in activity if (log := _member(a, "log")) is not None]
    if isinstance(logs, list):
        findings = [_judge(log, block) for log in logs]
        return AlchemyEvent(
            findings=findings, ignored="" if logs else "it has no logs", heartbeat=not logs
        )
    told = _member(event, "error")
    if told is None:
        return AlchemyEvent(ignored="it has no list of logs")
    text = plain_text(told, max_length=400) or "an error without a readable text"
    return AlchemyEvent(ignored=f"Alchemy says: {text}", over_capacity=True)


def _member(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _judge(log: object, block: Mapping[str, Any]) -> Finding:
    try:
        if not isinstance(log, dict):
            raise MalformedLog("the log is not an object")
        facts = log if "address" in log else _as_rpc_log(log)
        if foreign := _foreign(facts):
            return Finding(foreign)
        if facts.get("removed"):
            told = facts.get("transactionHash")
            return Finding(Verdict.REMOVED, removed_tx=told.lower() if is_hash(told) else "")
        around = {
            "blockHash": block.get("hash"),
            "blockNumber": block.get("number"),
            "blockTimestamp": block.get("timestamp"),
        }
        mint = decode_mint_log(around | {k: v for k, v in facts.items() if v is not None})
    except IncompleteLog as error:
        return Finding(Verdict.INCOMPLETE, str(error))
    except MalformedLog as error:
        return Finding(Verdict.MALFORMED, str(error))
    return Finding(Verdict.MINT, mint=mint)


def _as_rpc_log(log: Mapping[str, Any]) -> dict[str, Any]:
    """Return a log of a GRAPHQL event in the form of JSON-RPC."""
    return {
        "address": _member(log.get("account"), "address"),
        "topics": log.get("topics"),
        "data": log.get("data"),
        "logIndex": log.get("index"),
        "transactionHash": _member(log.get("transaction"), "hash"),
        "removed": log.get("removed"),
    }


def _foreign(log: Mapping[str, Any]) -> Verdict | None:
    """Return the verdict on a log that is surely not a mint of our contract, None on any other."""
    address, topics = log.get("address"), log.get("topics")
    if address is None:
        raise IncompleteLog("the sender left out: address")
    if not is_address(address):
        raise MalformedLog("the contract address is not an address")
    if address.lower() != settings.GLISK_NFT_CONTRACT_ADDRESS.lower():
        return Verdict.FOREIGN_CONTRACT
    kind = topics[0] if isinstance(topics, list) and topics else None
    other = is_hash(kind) and kind.lower() != BATCH_MINTED_TOPIC
    return Verdict.FOREIGN_EVENT if other or topics == [] else None
