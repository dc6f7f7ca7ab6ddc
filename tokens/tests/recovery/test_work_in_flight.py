"""A reorg while a token is being generated, and while it is ready: real vendors' emulators."""

import time

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


def hand_over(chain: DemoChain, reader: ChainClient) -> None:
    """Let a reorg give token 1 to another author, and the program find out."""
    chain.reorg(1)
    mint(chain, LIGHTHOUSE)
    scan_chain(reader)
    chain.mine(2)
    assert scan_chain(reader).reorgs.retired


def is_(status: TokenStatus) -> bool:
    return Token.objects.filter(pk=1, status=status).exists()


def assert_made_for_the_lighthouse(chain: DemoChain, vendors: Vendors) -> None:
    """The picture is of the right prompt, and both predictions stand in the books."""
    assert_equal_to_chain(chain)
    assert vendors.paid == 2
    assert vendors.creations() == 2
    old, new = ImageGenerationJob.objects.order_by("pk")
    assert (old.status, old.error_class) == (JobStatus.FAILED, "withdrawn")
    assert (new.status, new.prompt) == (JobStatus.CAPTURED, "a lighthouse at night")
    assert {old.external_id, new.external_id} == {p.id for p in vendors.predictions}
    assert old.cost_usd == new.cost_usd is not None
    token = Token.objects.get()
    assert token.image_url == new.output_url
    assert token.generation_attempts == 1
    assert TokenImage.objects.count() == 1


def test_a_reorg_while_the_call_is_on_its_way(
    chain: DemoChain, reader: ChainClient, drain: Worker, vendors: Vendors
) -> None:
    """The reply comes when the token is another's: its cost is entered, nothing else happens."""
    drain.step()
    assert is_(TokenStatus.GENERATING)
    hand_over(chain, reader)  # while nobody takes the reply
    assert ImageGenerationJob.objects.get().status == JobStatus.REJECTED
    drain.until(has_status(TokenStatus.READY, Token.objects.get()))
    assert_made_for_the_lighthouse(chain, vendors)


def test_a_reorg_while_the_vendor_works(
    chain: DemoChain, reader: ChainClient, drain: Worker, vendors: Vendors
) -> None:
    drain.until(lambda: ImageGenerationJob.objects.filter(status=JobStatus.SUBMITTED).exists())
    hand_over(chain, reader)
    drain.until(has_status(TokenStatus.READY, Token.objects.get()))
    assert_made_for_the_lighthouse(chain, vendors)


def test_a_reorg_while_the_files_are_uploaded(
    chain: DemoChain, reader: ChainClient, drain: Worker, vendors: Vendors
) -> None:
    drain.until(lambda: is_(TokenStatus.UPLOADING) or is_(TokenStatus.READY))
    hand_over(chain, reader)
    drain.until(has_status(TokenStatus.READY, Token.objects.get()))
    drain.settle(0.3)
    assert_equal_to_chain(chain)
    token = Token.objects.get()
    assert vendors.store.read(token.metadata_cid or "") == (token.metadata_text or "").encode()
    assert ImageGenerationJob.objects.filter(prompt=token.prompt, status="captured").count() == 1


def test_a_reorg_when_the_token_is_ready(
    chain: DemoChain, reader: ChainClient, drain: Worker, vendors: Vendors
) -> None:
    drain.until(has_status(TokenStatus.READY, Token.objects.get()))
    before = Token.objects.get().metadata_cid
    hand_over(chain, reader)
    assert is_(TokenStatus.DETECTED)
    drain.until(has_status(TokenStatus.READY, Token.objects.get()))
    token = Token.objects.get()
    assert token.metadata_cid != before
    assert token.prompt == "a lighthouse at night"
    first, second = ImageGenerationJob.objects.order_by("pk")
    assert (first.status, second.status) == (JobStatus.CAPTURED, JobStatus.CAPTURED)
    assert_equal_to_chain(chain)


def test_a_mint_that_is_gone_ends_the_work_on_it(
    chain: DemoChain, reader: ChainClient, drain: Worker, vendors: Vendors
) -> None:
    drain.until(lambda: ImageGenerationJob.objects.filter(status=JobStatus.SUBMITTED).exists())
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
