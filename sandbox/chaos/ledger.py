"""Compare our ledger with the vendor's bill, and every token's end with what really happened.

The emulator decided how each prediction ends before it began, and tells: that is the truth here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from glisk.verify.checks import Verdict, verify
from glisk.verify.sources import Gateway, Node
from sandbox.accounts import CONTRACT_ADDRESS
from sandbox.demo.evidence import Evidence, judge
from sandbox.demo.people import author_of
from sandbox.world import World

Row = dict[str, Any]

# These of the demo's claims hold for every single token, whatever became of the others.
_CLAIMS = ("tokenURI", "the metadata", "the image's bytes", "each was revealed", "the database")


@dataclass(frozen=True)
class Facts:
    """Tokens by id, jobs in order, the bill's entries, predictions by id, and the chain.

    `provenance` are the lines of export_provenance; `sources` the gateway's and the node's URL.
    """

    tokens: dict[int, Row]
    jobs: list[Row]
    bill: list[Row]
    predictions: dict[str, Row]
    evidence: Evidence
    provenance: Sequence[str] = ()
    sources: tuple[str, str] = ("", "")

    def jobs_of(self, token_id: int) -> list[Row]:
        return [job for job in self.jobs if job["token_id"] == token_id]

    def truth_of(self, job: Row) -> str:
        """Return what the vendor made of a job: "sound", or why it is of no use, or "" if none."""
        prediction = self.predictions.get(job["external_id"] or "")
        if prediction is None:
            return ""
        if prediction["outcome"] != "succeeded":
            return str(prediction["outcome"])
        return f"garbage {prediction['garbage']}" if prediction["garbage"] else "sound"


def paid_again(facts: Facts) -> Counter[str]:
    """Count the predictions that were paid after another one of the same token, by reason."""
    reasons: Counter[str] = Counter()
    for token_id in facts.tokens:
        paid = [job for job in facts.jobs_of(token_id) if job["external_id"]]
        for earlier in paid[:-1]:
            reasons[facts.truth_of(earlier)] += 1
    return reasons


def find_faults(facts: Facts) -> list[str]:
    """Return everything that is not as it must be; nothing if all is well."""
    return [*_bill(facts), *_twice(facts), *_ends(facts), *_chain(facts), *_provenance(facts)]


def _bill(facts: Facts) -> Iterator[str]:
    """The bill and the ledger hold the same predictions, and the same sum."""
    billed = Counter(entry["subject"] for entry in facts.bill)
    booked = Counter(job["external_id"] for job in facts.jobs if job["external_id"])
    for prediction_id in sorted(billed.keys() | booked.keys()):
        if (billed[prediction_id], booked[prediction_id]) != (1, 1):
            yield (
                f"prediction {prediction_id} is {billed[prediction_id]} times on the bill and "
                f"{booked[prediction_id]} times in the ledger"
            )
    charged = sum((Decimal(str(entry["price_usd"])) for entry in facts.bill), Decimal(0))
    known = sum((job["cost_usd"] or Decimal(0) for job in facts.jobs), Decimal(0))
    if charged != known:
        yield f"the bill says {charged} USD, the ledger {known}"


def _twice(facts: Facts) -> Iterator[str]:
    """Nothing is paid again for a token that has a sound picture."""
    for token_id in facts.tokens:
        paid = [job for job in facts.jobs_of(token_id) if job["external_id"]]
        for earlier in paid[:-1]:
            if facts.truth_of(earlier) == "sound":
                yield (
                    f"token {token_id} was paid again though {earlier['external_id']} was sound; "
                    f"its job says {earlier['error']!r}"
                )


def _ends(facts: Facts) -> Iterator[str]:
    """Every token is revealed with a sound picture, or failed for a reason that is true."""
    for token_id, row in facts.tokens.items():
        jobs = facts.jobs_of(token_id)
        truths = [facts.truth_of(job) for job in jobs]
        if row["status"] == "revealed":
            captured = [facts.truth_of(job) for job in jobs if job["status"] == "captured"]
            if captured != ["sound"]:
                yield f"token {token_id} is revealed with {captured}"
        elif row["status"] != "failed":
            yield f"token {token_id} is {row['status']}"
        elif not row["generation_error"] or not row["error_class"]:
            yield f"token {token_id} failed without a reason"
        elif "sound" in truths:
            yield f"token {token_id} failed ({row['generation_error']}) with a sound picture"
        elif row["error_class"] == "content_policy" and not _was_refused(truths):
            yield f"token {token_id} counts as refused, but was {truths}"


def _was_refused(truths: list[str]) -> bool:
    refused = [truth for truth in truths if truth in ("nsfw", "flagged", "garbage black")]
    return len(refused) >= 2  # its own prompt, and the fallback


def _chain(facts: Facts) -> Iterator[str]:
    """What is revealed is on chain, whole and right; what failed is not."""
    revealed = {number for number, row in facts.tokens.items() if row["status"] == "revealed"}
    for token in facts.evidence.tokens:
        if token.revealed != (token.token_id in revealed):
            yield f"token {token.token_id}: revealed on chain is {token.revealed}"
    whole = replace(
        facts.evidence,
        tokens=[token for token in facts.evidence.tokens if token.token_id in revealed],
        row_count=len(revealed),
    )
    for verdict in judge(whole):
        if verdict.claim.startswith(_CLAIMS):
            yield from verdict.faults


def _provenance(facts: Facts) -> Iterator[str]:
    """Each revealed token's provenance holds for strangers, and its prompt is its author's."""
    bundles = [json.loads(line) for line in facts.provenance]
    revealed = {number for number, row in facts.tokens.items() if row["status"] == "revealed"}
    if missing := revealed - {bundle["token_id"] for bundle in bundles}:
        yield f"tokens without provenance: {sorted(missing)[:20]}"
    gateway, node = map(str, facts.sources)
    for bundle in bundles:
        token_id, made = bundle["token_id"], bundle["generation"]
        contract = CONTRACT_ADDRESS
        for check in verify(bundle, gateway=Gateway(gateway), node=Node(node), contract=contract):
            if check.verdict in (Verdict.FALSE, Verdict.UNKNOWN):
                yield f"token {token_id}: {check.what}: {check.verdict} {check.detail}"
        author, sent = author_of(bundle["author"]), facts.predictions[made["prediction"]]["input"]
        if made.get("prompt") != sent["prompt"]:
            yield f"token {token_id} says {made.get('prompt')!r}, the vendor {sent['prompt']!r}"
        if author and not made["fallback_prompt"] and sent["prompt"] != author.prompt:
            yield f"token {token_id} was made by the prompt {sent['prompt']!r}"


# What is called a secret in the environment of the program.
_SECRET_NAMES = ("KEY", "SECRET", "TOKEN", "JWT", "PASSWORD")
_SHORTEST_SECRET = 12


def leaked_secrets(world: World) -> Iterator[str]:
    """Tell which secrets of the program's environment stand in its logs."""
    secrets = {
        name: value.removeprefix("0x")
        for name, value in world.env.items()
        if name.endswith(_SECRET_NAMES) and len(value) >= _SHORTEST_SECRET
    }
    logs = [*(world.directory / "logs").glob("*.log"), world.directory / "postgres" / "log"]
    for log in sorted(logs):
        text = log.read_text(errors="replace")
        for name, value in secrets.items():
            if value in text:
                yield f"{name} stands in {log.name}"
