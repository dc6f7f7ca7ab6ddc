"""A small world with a row of everything, as the machine would have written it."""

import io
import json
from datetime import timedelta
from functools import cache
from hashlib import sha256

from django.utils import timezone
from PIL import Image

from authors.tests.factories import wallet
from glisk.models import Alert, AlertDelivery, SystemState, WorkerHeartbeat
from reveals.models import RevealBatch, RevealBatchToken, RevealTransaction, TransactionStatus
from tokens.models import (
    ImageGenerationJob,
    IPFSUploadRecord,
    PromptSample,
    Token,
    TokenImage,
    TokenTransition,
)
from tokens.models.job import JobStatus, SampleStatus
from tokens.recovery.progress import Progress, save_progress
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory, hash32
from webhooks.models import EventStatus, WebhookEvent


@cache
def png(side: int = 200, colour: str = "teal") -> bytes:
    """Return the bytes of a small picture."""
    data = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(data, "PNG")
    return data.getvalue()


def add_image(token: Token, data: bytes | None = None) -> TokenImage:
    """Give a token an image of which we keep the bytes."""
    data = png() if data is None else data
    return TokenImage.objects.create(
        token=token,
        data=data,
        mime_type="image/png",
        extension="png",
        width=200,
        height=200,
        size_bytes=len(data),
        sha256=sha256(data).hexdigest(),
    )


def add_ready_token(number: int) -> Token:
    """Add a token that has come as far as a broadcast reveal, with all its records."""
    token: Token = TokenFactory.create(
        status=TokenStatus.READY, metadata_text=json.dumps({"name": f"GLISK S0 #{number}"})
    )
    for before, after in (("", "detected"), ("detected", "generating"), ("uploading", "ready")):
        TokenTransition.objects.create(
            token=token, from_status=before, to_status=after, actor="drain", attempt=1
        )
    add_image(token)
    ImageGenerationJob.objects.create(
        token=token,
        prompt=token.prompt,
        input={"seed": number},
        service="replicate",
        model="black-forest-labs/flux-schnell",
        external_id=f"prediction{number}",
        attempt_number=1,
        status=JobStatus.CAPTURED,
    )
    PromptSample.objects.create(
        author=token.author,
        prompt=token.prompt,
        actor="operator",
        input={"seed": number},
        model="black-forest-labs/flux-schnell",
        status=SampleStatus.DONE,
        data=png(),
        mime_type="image/png",
    )
    IPFSUploadRecord.objects.create(
        token=token,
        upload_type="image",
        computed_cid=token.image_cid or "",
        returned_cid=token.image_cid or "",
        size_bytes=10,
        attempt_number=1,
        status="succeeded",
    )
    batch = RevealBatch.objects.create(keeper=wallet(9), nonce=number)
    RevealBatchToken.objects.create(
        batch=batch, token=token, position=0, metadata_uri=token.token_uri or ""
    )
    previous = None
    for attempt in range(2):
        previous = RevealTransaction.objects.create(
            batch=batch,
            tx_hash=hash32(0xF000 + number * 10 + attempt),
            keeper=batch.keeper,
            nonce=number,
            token_ids=[token.pk],
            metadata_uris=[token.token_uri],
            raw_transaction=b"\x02signed",
            gas_limit=100_000,
            max_fee_per_gas_wei=12_000_000,
            max_priority_fee_per_gas_wei=1_000_000,
            status=TransactionStatus.BROADCAST,
            replaces=previous,
        )
    return token


def add_surroundings(number: int) -> None:
    """Add a webhook event, a worker, a piece of state, and a look at the chain."""
    WebhookEvent.objects.create(
        event_id=f"whevt_{number}",
        event_type="GRAPHQL",
        body=b'{"id":"whevt","amount":1}',
        status=EventStatus.PROCESSED,
        verdicts=[{"log_index": 0, "verdict": "registered"}],
        processed_at=timezone.now(),
    )
    now = timezone.now()
    WorkerHeartbeat.objects.create(
        owner=f"machine:1:{number}:generation",
        host="machine",
        main_pid=1,
        pid=number,
        stage="generation",
        started_at=now - timedelta(hours=1),
        beat_at=now,
    )
    SystemState.objects.create(state_key=f"mark:{number}", state_value={"block": number})
    alert = Alert.objects.create(
        kind="held", name=str(number), level="warn", began_at=now, seen_at=now, ended_at=now
    )
    times = {"created_at": now, "next_attempt_at": now}
    AlertDelivery.objects.create(alert=alert, event="begin", target="a", label="a", **times)
    save_progress(Progress(block=1, head=1))


def build_world(size: int) -> None:
    """Add `size` rows of everything."""
    first = RevealBatch.objects.count() + 1
    for number in range(first, first + size):
        add_ready_token(number)
        add_surroundings(number)
