"""A reorg while a token is being generated, and while it is ready: real vendors' emulators."""

import time
from collections.abc import Callable

import pytest

from authors.models import Author
from glisk.clients.chain import ChainClient
from sandbox.chain import DemoChain
from tokens.models import ImageGenerationJob, Token, TokenImage
from tokens.models.job import JobStatus
from tokens.recovery.scan import scan_chain
from tokens.states import TokenStatus
from tokens.tests.recovery.conftest import assert_equal_to_chain
from tokens.tests.recovery.stage import FOX, LIGHTHOUSE, mint
from tokens.tests.stage import Start, Vendors, Worker, has_status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def drain(chain: DemoChain, reader: ChainClient, worker: Start, authors: list[Author]) -> Worker:
    """A worker's drains, and a fox's token for them."""
    mint(chain, FOX)
    scan_chain(reader)
    return worker()


def is_(*statuses: TokenStatus) -> bool:
    return Token.objects.filter(pk=1, status__in=statuses).exists()


def is_submitted() -> bool:
    return ImageGenerationJob.objects.filter(status=JobStatus.SUBMITTED).exists()


@pytest.mark.parametrize(
    ("moment", "what_it_was"),
    [
        # The reply comes when the token is another's: its cost is entered, nothing else happens.
        (lambda: is_(TokenStatus.GENERATING), JobStatus.FAILED),
        (is_submitted, JobStatus.FAILED),
        (lambda: is_(TokenStatus.UPLOADING, TokenStatus.READY), JobStatus.CAPTURED),
        (lambda: is_(TokenStatus.READY), JobStatus.CAPTURED),
    ],
    ids=["while-called", "while-the-vendor-works", "while-uploaded", "when-ready"],
)
def test_a_reorg_gives_the_token_to_another_author(
    chain: DemoChain,
    reader: ChainClient,
    drain: Worker,
    vendors: Vendors,
    moment: Callable[[], bool],
    what_it_was: JobStatus,
) -> None:
    """The picture is of the right prompt, and both predictions stand in the books."""
    drain.until(moment)
    chain.reorg(1)
    mint(chain, LIGHTHOUSE)
    scan_chain(reader)
    chain.mine(2)
    assert scan_chain(reader).reorgs.retired
    drain.until(has_status(TokenStatus.READY, Token.objects.get()))
    drain.settle(0.3)
    assert_equal_to_chain(chain)
    assert vendors.paid == vendors.creations() == 2
    old, new = ImageGenerationJob.objects.order_by("pk")
    assert (old.status, new.status) == (what_it_was, JobStatus.CAPTURED)
    assert (old.prompt, new.prompt) == ("a fox in the snow", "a lighthouse at night")
    assert {old.external_id, new.external_id} == {p.id for p in vendors.predictions}
    assert old.cost_usd == new.cost_usd is not None
    token = Token.objects.get()
    assert (token.image_url, token.generation_attempts) == (new.output_url, 1)
    assert TokenImage.objects.count() == 1
    assert vendors.store.read(token.metadata_cid or "") == (token.metadata_text or "").encode()


def test_a_mint_that_is_gone_ends_the_work_on_it(
    chain: DemoChain, reader: ChainClient, drain: Worker, vendors: Vendors
) -> None:
    drain.until(is_submitted)
    chain.reorg(1)
    scan_chain(reader)
    chain.mine(2)
    assert scan_chain(reader).reorgs.retired
    while not vendors.predictions[0].terminal:
        time.sleep(0.01)
    drain.settle(0.5)
    assert not Token.objects.exists()
    assert not TokenImage.objects.exists()
    assert ImageGenerationJob.objects.get().status == JobStatus.FAILED
    assert vendors.paid == 1
