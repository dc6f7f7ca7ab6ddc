"""One list of checks, by the clients and the code that production uses.

`manage.py canary` runs it at a real set-up; the tests run the same list at the emulators. It pays
for one image, pins two files, and sends no transaction.

The image is a sample of the default author (tokens.pipeline.samples): so the daily cap bounds it,
the ledger holds it, and a call whose reply is lost is found again by its seed. A sample that was
not finished, or is less than an hour old, is used again instead of paying twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from django.conf import settings
from django.core.exceptions import ValidationError

from authors.models import Author
from glisk.cid import compute_cid
from glisk.clients.chain import ChainClient, encode_reveal
from glisk.clients.image_download import inspect_image
from glisk.clients.ipfs import GatewayClient, PinataClient
from glisk.clock import database_now
from glisk.console.management.commands.check_setup import QUESTIONS, NotWellError, answer
from glisk.errors import TransientError
from reveals.keeper import (
    MAX_TRANSACTION_GAS,
    GasPriceTooHighError,
    choose_fees,
    configured_ceiling_wei,
    keeper_address,
    percentile,
)
from tokens.models import PromptSample
from tokens.models.job import OPEN_SAMPLE_STATUSES, JobService, SampleStatus
from tokens.pipeline.collect import build_metadata
from tokens.pipeline.jobs import model_of
from tokens.pipeline.samples import SampleRefused, make_here, request_sample

ACTOR: Final = "canary"
# No token has this number; the metadata of the canary shall be nobody's.
_NO_TOKEN: Final = 0
_KEPT: Final = timedelta(hours=1)
# A fresh pin reaches a gateway late.
_GATEWAY_SECONDS: Final = 90.0
_GATEWAY_AGAIN_SECONDS: Final = 2.0


class NotTried(Exception):
    """A check needs what an earlier one did not bring."""


@dataclass(frozen=True)
class Answer:
    """What one check found: `text` says what was seen, or what is wrong and what to do.

    `is_well` is None where it was not tried. `seconds` is how long the answer took.
    """

    vendor: str
    subject: str
    is_well: bool | None
    text: str
    seconds: float


@dataclass
class File:
    """What is pinned of the canary's token."""

    name: str
    content_type: str
    data: bytes
    cid: str
    is_pinned: bool = False


def sample_to_use() -> PromptSample | None:
    """Return a sample of the default author that needs no new payment, if there is one."""
    author = _default_author()
    if author is None:
        return None
    # The call of one that is just created is still to be made, and paid for.
    opened = author.samples.filter(status__in=OPEN_SAMPLE_STATUSES)
    known = opened.exclude(status=SampleStatus.CREATED).first()
    if known is not None:
        return known
    fresh = author.samples.filter(
        actor=ACTOR,
        status=SampleStatus.DONE,
        prompt=settings.DEFAULT_PROMPT.strip(),
        model=model_of(JobService.REPLICATE),
        data__isnull=False,
        completed_at__gte=database_now() - _KEPT,
    )
    return fresh.order_by("-completed_at").first()


def _default_author() -> Author | None:
    wallet = settings.GLISK_DEFAULT_AUTHOR_WALLET
    return Author.objects.filter(wallet_address__iexact=wallet).first()


class Canary:
    """The checks in their order; a later one uses what an earlier one made.

    `known` is the sample to use; without it a new one is paid for, which somebody has to agree to.
    """

    def __init__(self, known: PromptSample | None) -> None:
        self.known = known
        self.chain = ChainClient.from_settings()
        self.image, self.image_type = b"", ""
        self.files: dict[str, File] = {}

    @property
    def checks(self) -> list[tuple[str, str, Callable[[], str]]]:
        """Return vendor, subject and check; the questions are those of `check_setup`."""
        ask = QUESTIONS
        return [
            ("chain", "contract", ask["chain"]),
            ("chain", "logs", ask["logs"]),
            ("chain", "keeper", ask["keeper"]),
            ("replicate", "token", ask["replicate"]),
            ("replicate", "listing", ask["listing"]),
            ("replicate", "callbacks", ask["callbacks"]),
            ("replicate", "clocks", ask["clocks"]),
            ("selfhosted", "health", ask["selfhosted"]),
            ("pinata", "key", ask["pinata"]),
            ("replicate", "image", self.make_image),
            ("here", "files", self.compute_cids),
            ("pinata", "pin image", partial(self.pin, "image")),
            ("pinata", "pin metadata", partial(self.pin, "metadata")),
            ("gateway", "read image", partial(self.read_back, "image")),
            ("gateway", "read metadata", partial(self.read_back, "metadata")),
            ("chain", "reveal", self.simulate_reveal),
        ]

    def run(self) -> Iterator[Answer]:
        """Yield the answers one by one: one that fails hides no other."""
        for vendor, subject, check in self.checks:
            begun = time.monotonic()
            is_well: bool | None
            try:
                is_well, text = answer(check)
            except NotTried as error:
                is_well, text = None, f"not tried: it needs {error}"
            yield Answer(vendor, subject, is_well, text, time.monotonic() - begun)

    def simulate_reveal(self) -> str:
        """Have the node try the reveal of the next id, and say what it would cost."""
        keeper = keeper_address()
        if not keeper:
            raise NotWellError("The keeper is not known here: set KEEPER_ADDRESS.")
        # Where nothing is pinned, the form of the URI is enough.
        metadata = self.files.get("metadata")
        uri = f"ipfs://{metadata.cid if metadata else compute_cid(b'canary', version=0)}"
        token_id = self.chain.survey().next_token_id
        (refusal,) = self.chain.simulate_reveals(keeper=keeper, reveals=[([token_id], [uri])])
        if refusal is not None:
            raise refusal
        history, gas = self.chain.fees_and_gas(
            keeper=keeper, data=encode_reveal([token_id], [uri]), percentile=percentile()
        )
        try:
            fees = choose_fees(history, ceiling_wei=configured_ceiling_wei())
        except GasPriceTooHighError as error:
            raise NotWellError(str(error)) from error
        limit = min(int(gas * settings.REVEAL_GAS_BUFFER), MAX_TRANSACTION_GAS)
        price = history.next_base_fee_per_gas_wei + fees.max_priority_fee_per_gas_wei
        return (
            f"the reveal of #{token_id} would work: {gas:,} gas (limit {limit:,}) at "
            f"{price / 1e9:g} gwei, about {gas * price / 1e18:.8f} ETH; nothing was sent"
        )

    # -- the image ----------------------------------------------------------------------

    def make_image(self) -> str:
        author, known = _default_author(), self.known
        if author is None:
            raise NotWellError("There is no default author: run `manage.py migrate`.")
        try:
            sample = known or request_sample(
                author=author, prompt=settings.DEFAULT_PROMPT, actor=ACTOR
            )
        except SampleRefused as error:
            raise NotWellError(str(error)) from error
        except ValidationError as error:
            said = " ".join(error.messages)
            raise NotWellError(f"DEFAULT_PROMPT cannot be a prompt: {said}") from error
        sample = make_here(sample, timeout_seconds=settings.GENERATION_TIMEOUT_SECONDS)
        if sample.status != SampleStatus.DONE or sample.data is None:
            raise NotWellError(
                f"{sample.error or 'No outcome yet.'} Run the canary again: a call that may be "
                "paid is looked for, and not made a second time."
            )
        self.image, self.image_type = bytes(sample.data), sample.mime_type
        paid = f"paid {sample.cost_usd:f} USD" if sample.cost_usd is not None else "paid nothing"
        if known is not None:
            minutes = (database_now() - sample.created_at).total_seconds() / 60
            paid = f"asked for {minutes:.0f} min ago, nothing new was paid"
        return f"prediction {sample.external_id} by {sample.model}: {paid}"

    def compute_cids(self) -> str:
        """Check the picture as the pipeline does, and name both files."""
        if not self.image:
            raise NotTried("the image")
        facts = inspect_image(self.image, max_bytes=settings.IMAGE_MAX_BYTES)
        image_cid = compute_cid(self.image, version=1 if settings.IMAGE_CID_VERSION else 0)
        metadata = build_metadata(
            token_id=_NO_TOKEN,
            image_cid=image_cid,
            twitter_handle=None,
            farcaster_handle=None,
            model=model_of(JobService.REPLICATE),
        ).encode()
        metadata_cid = compute_cid(metadata, version=1 if settings.METADATA_CID_VERSION else 0)
        self.files = {
            "image": File(f"canary.{facts.format}", self.image_type, self.image, image_cid),
            "metadata": File("canary.json", "application/json", metadata, metadata_cid),
        }
        return (
            f"{facts.width} x {facts.height} {facts.format}, {facts.size_bytes:,} bytes; image "
            f"{image_cid}, metadata {metadata_cid}"
        )

    # -- IPFS ---------------------------------------------------------------------------

    def pin(self, what: str) -> str:
        if (file := self.files.get(what)) is None:
            raise NotTried("the file")
        answered = PinataClient().pin_file(
            data=file.data,
            name=file.name,
            keyvalues={"season": str(settings.SEASON), "canary": "true"},
            cid_version=0 if file.cid.startswith("Qm") else 1,
            content_type=file.content_type,
        )
        if answered != file.cid:
            raise NotWellError(
                f"Pinata answered {answered}, and the CID is {file.cid}: no token would be "
                "revealed. Look at the pinned file, and ask Pinata."
            )
        file.is_pinned = True
        return f"{len(file.data):,} bytes pinned under the CID that was computed here"

    def read_back(self, what: str) -> str:
        """Read a file at the gateway until it has it: the hash of its bytes is the proof."""
        file = self.files.get(what)
        if file is None or not file.is_pinned:
            raise NotTried("the pinned file")
        gateway, ends = GatewayClient(), time.monotonic() + _GATEWAY_SECONDS
        while True:
            try:
                read = gateway.fetch_verified(file.cid, max_bytes=settings.IMAGE_MAX_BYTES)
            except TransientError:
                if time.monotonic() >= ends:
                    raise
                time.sleep(_GATEWAY_AGAIN_SECONDS)
                continue
            return f"the same {len(read):,} bytes came back"
