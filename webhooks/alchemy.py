"""Read an Alchemy event: which logs it holds, and which of them are mints of ours.

Pure functions over a parsed body. Nothing that a body may hold raises: each log gets a verdict
of its own, and an event in which nothing is ours says why.

Shapes (https://www.alchemy.com/docs/reference/custom-webhook and …/address-activity-webhook):
`event.data.block.logs[]` of a GRAPHQL event, where only fields that the query named are present,
and `event.activity[].log` of the activity events, in the form of JSON-RPC. A raw log, which is
known by its own `address`, is read in either place; what it lacks, its block may tell.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from django.conf import settings

from glisk.fields import is_address, is_hash
from tokens.minting.mint_log import (
    BATCH_MINTED_TOPIC,
    IncompleteLog,
    MalformedLog,
    MintLog,
    decode_mint_log,
    read_number,
)
from webhooks.authentication import plain_text

MAX_ID_LENGTH: Final = 64
_OF_THE_BLOCK: Final = ("hash", "number", "timestamp")


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
    """One log of an event, by its place in it."""

    position: int
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


def read_event(payload: Mapping[str, Any]) -> AlchemyEvent | None:
    """Return what an event holds, or None if it has no usable id."""
    event_id = plain_text(payload.get("id"), max_length=MAX_ID_LENGTH)
    if not event_id.strip():
        return None
    return replace(
        _read_contents(payload.get("event")),
        id=event_id,
        webhook_id=plain_text(payload.get("webhookId"), max_length=MAX_ID_LENGTH),
        type=plain_text(payload.get("type"), max_length=40),
    )


def _read_contents(event: object) -> AlchemyEvent:
    if not isinstance(event, dict):
        return AlchemyEvent(ignored="it has no event object")
    network = event.get("network")
    # Alchemy's older messages name no network. Where one is named it must be ours, also on
    # LOCAL: a chain of another network cannot tell us of our mints.
    if network is not None and network != settings.NETWORK:
        return AlchemyEvent(ignored="it is of another network")
    if "data" not in event and "activity" not in event:
        told = event.get("error")
        if told is None:
            return AlchemyEvent(ignored="it has neither data nor activity")
        text = plain_text(told, max_length=400) or "an error without a readable text"
        return AlchemyEvent(ignored=f"Alchemy says: {text}", over_capacity=True)
    block, logs = _block_logs(event)
    if logs is None:
        return AlchemyEvent(ignored="it has no list of logs")
    if not logs:
        return AlchemyEvent(ignored="it has no logs", heartbeat=True)
    return AlchemyEvent(
        findings=[_judge(position, log, block) for position, log in enumerate(logs)]
    )


def _block_logs(event: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, list[Any] | None]:
    """Return the block and its logs (GRAPHQL), or None and the logs of the activities."""
    activity = event.get("activity")
    if isinstance(activity, list):
        return None, list(_activity_logs(activity))
    data = event.get("data")
    block = data.get("block") if isinstance(data, dict) else None
    if not isinstance(block, dict):
        return None, None
    logs = block.get("logs")
    return block, logs if isinstance(logs, list) else None


def _activity_logs(activity: list[Any]) -> Iterator[Any]:
    """Yield the logs of activities; plain transfers of ether have none."""
    for entry in activity:
        if not isinstance(entry, dict):
            yield entry
        elif entry.get("log") is not None:
            yield entry["log"]


def _judge(position: int, log: object, block: Mapping[str, Any] | None) -> Finding:
    try:
        if not isinstance(log, dict):
            raise MalformedLog("the log is not an object")
        raw = block is None or ("address" in log and "account" not in log)
        facts = log if raw else _as_rpc_log(log)
        foreign = _foreign(facts)
        if foreign:
            return Finding(position, foreign)
        removed = facts.get("removed")
        if removed is not None and not isinstance(removed, bool):
            raise MalformedLog("the removed flag is not a boolean")
        if removed:
            told = facts.get("transactionHash")
            return Finding(
                position, Verdict.REMOVED, removed_tx=told.lower() if is_hash(told) else ""
            )
        around = {f"block{name.capitalize()}": (block or {}).get(name) for name in _OF_THE_BLOCK}
        mint = decode_mint_log(around | {k: v for k, v in facts.items() if v is not None})
    except IncompleteLog as error:
        return Finding(position, Verdict.INCOMPLETE, str(error))
    except MalformedLog as error:
        return Finding(position, Verdict.MALFORMED, str(error))
    return Finding(position, Verdict.MINT, mint=mint)


def _as_rpc_log(log: Mapping[str, Any]) -> dict[str, Any]:
    """Return a log of a GRAPHQL event in the form of JSON-RPC."""
    transaction = _object(log, "transaction")
    status = transaction.get("status")
    if status is not None and read_number(status, "transaction status", high=1) != 1:
        raise MalformedLog("the transaction failed, so it has no logs")
    return {
        "address": _object(log, "account").get("address"),
        "topics": log.get("topics"),
        "data": log.get("data"),
        "logIndex": log.get("index"),
        "transactionHash": transaction.get("hash"),
        "removed": log.get("removed"),
    }


def _object(log: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a member of a log; empty where it was not asked for."""
    value = log.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedLog(f"the {name} is not an object")
    return value


def _foreign(log: Mapping[str, Any]) -> Verdict | None:
    """Return the verdict on a log that is not a mint of our contract, None on one that is."""
    address = log.get("address")
    if address is None:
        raise IncompleteLog(["contract address"])
    if not is_address(address):
        raise MalformedLog("the contract address is not an address")
    if address.lower() != settings.GLISK_NFT_CONTRACT_ADDRESS.lower():
        return Verdict.FOREIGN_CONTRACT
    topics = log.get("topics")
    if topics is None:
        raise IncompleteLog(["topics"])
    if not isinstance(topics, list) or not all(isinstance(topic, str) for topic in topics):
        raise MalformedLog("the topics are not a list of texts")
    if not topics or topics[0].lower() != BATCH_MINTED_TOPIC:
        return Verdict.FOREIGN_EVENT
    return None
