"""One token's life on a node: a signed webhook, an image, two files, a reveal."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from authors.models import Author
from authors.tests.factories import AuthorFactory
from glisk.cid import DAG_PB, Cid, compute_cid, parse_cid
from glisk.engine.drain import Drain
from glisk.tests.pace import hurry
from glisk.verify.__main__ import main
from glisk.verify.checks import Check, Verdict, verify
from glisk.verify.sources import Gateway, Node
from reveals.tasks import RevealDrain
from sandbox.accounts import AUTHORS, KEEPER
from sandbox.chain import DemoChain
from tokens.minting.mint_log import BATCH_MINTED_TOPIC
from tokens.models import Token, TokenTransition
from tokens.states import TokenStatus
from tokens.tasks import GenerationDrain, UploadDrain
from tokens.tests.conftest import _vendors, vendors
from tokens.tests.stage import Vendors, Worker, has_status
from webhooks.tests.sending import activity_event, post_alchemy

__all__ = ["_vendors", "vendors"]

pytestmark = [pytest.mark.fast, pytest.mark.django_db]

WHOLE = "The bundle is whole and of a known version"


@contextmanager
def running(*drains: Drain) -> Iterator[Worker]:
    worker = Worker(*drains)
    try:
        yield worker
    finally:
        worker.end()


@pytest.fixture
def chain(deployed: DemoChain, settings: Settings) -> DemoChain:
    settings.RPC_URL = deployed.rpc_url
    settings.GLISK_NFT_CONTRACT_ADDRESS = deployed.contract.address
    settings.KEEPER_PRIVATE_KEY = KEEPER.private_key
    return deployed


@pytest.mark.usefixtures("quick")
def test_a_signed_webhook_becomes_a_revealed_token(
    client: Client,
    chain: DemoChain,
    vendors: Vendors,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    hurry(monkeypatch.setattr)
    author = AuthorFactory.create(
        wallet_address=AUTHORS[0].address, prompt_text="a fox in the snow", prompt_is_public=True
    )
    receipt = chain.wait(chain.mint(1, AUTHORS[0].address, 2))
    block = hex(receipt["blockNumber"])
    wanted = {"fromBlock": block, "toBlock": block, "topics": [BATCH_MINTED_TOPIC]}
    answer = post_alchemy(client, activity_event(chain.rpc("eth_getLogs", wanted)))
    assert answer.json() == {"status": "processed", "registered": 1, "tokens": 2}

    tokens = list(Token.objects.order_by("pk"))
    with running(GenerationDrain(), UploadDrain()) as worker:
        worker.until(has_status(TokenStatus.READY, *tokens))
    with running(RevealDrain()) as worker:
        worker.until(has_status(TokenStatus.REVEALED, *tokens))

    assert vendors.paid == vendors.creations() == 2
    (reveal,) = chain.reveal_transactions()
    assert reveal.token_ids == tuple(token.pk for token in tokens)
    for token in tokens:
        token.refresh_from_db()
        assert token.prompt == "a fox in the snow"
        assert chain.token_uri(token.pk) == token.token_uri == f"ipfs://{token.metadata_cid}"
        metadata = vendors.store.read(str(token.metadata_cid))
        assert metadata is not None
        assert json.loads(metadata)["image"] == f"ipfs://{token.image_cid}"
        assert vendors.store.read(str(token.image_cid)) == bytes(token.image.data or b"")
        steps = TokenTransition.objects.filter(token_id=token.pk).order_by("pk")
        assert [step.to_status for step in steps] == [
            "detected", "generating", "uploading", "ready", "revealed",
        ]  # fmt: skip
    for token in tokens:  # what is noted later is not taken for how the image was made
        note_uploading = {"to_status": "uploading", "actor": "test"}
        TokenTransition.objects.create(token=token, from_status="uploading", **note_uploading)
    check_what_strangers_see(client, chain, vendors, tmp_path)
    Author.objects.filter(pk=author.pk).update(prompt_is_public=False)
    bundle = client.get(f"/api/tokens/{tokens[0].pk}/provenance").json()
    assert "a fox" not in json.dumps(bundle)
    checks = checks_of(bundle, chain, vendors)
    assert {check.verdict for check in checks} == {Verdict.HOLDS, Verdict.UNTOLD}, checks
    assert "it is private" in [check.detail for check in checks]


def checks_of(bundle: Any, chain: DemoChain, vendors: Vendors) -> list[Check]:
    gateway, node = Gateway(vendors.gateway.url), Node(chain.rpc_url)
    return list(verify(bundle, gateway=gateway, node=node, contract=chain.contract.address))


def check_what_strangers_see(
    client: Client, chain: DemoChain, vendors: Vendors, directory: Path
) -> None:
    """The provenance of a token holds, and each falsification of it is found and named."""
    lines = StringIO()
    call_command("export_provenance", stdout=lines)
    bundle, other = map(json.loads, lines.getvalue().splitlines())
    assert client.get(f"/api/tokens/{bundle['token_id']}/provenance").json() == bundle
    assert bundle["generation"]["prompt"] == "a fox in the snow"
    *checks, told = checks_of(bundle, chain, vendors)
    assert {check.verdict for check in checks} == {Verdict.HOLDS}, checks
    assert len(checks) >= 25
    assert told.detail == (
        "generation.fallback_prompt, generation.finished_at, generation.service, "
        "generation.started_at, image.mime_type, reveal.revealed_at"
    )

    made, mint, image = bundle["generation"], bundle["mint"], bundle["image"]
    text, prompt, salt = bundle["metadata"]["text"], made["prompt"], made["prompt_salt"]
    stranger = AUTHORS[1].address
    # What is changed in the bundle, and the check that has to name it.
    falsified: dict[str, tuple[dict[str, Any], str]] = {
        "another image": ({"image": other["image"]}, "The metadata names the image"),
        "the image under another codec": (
            {"image.cid": str(Cid(1, DAG_PB, parse_cid(image["cid"]).digest))},
            "The metadata names the image",
        ),
        "another hash": ({"image.sha256": "00" * 32}, "The image's bytes have the SHA-256"),
        "another size": ({"image.size_bytes": 1}, "The image has this size"),
        "another author": ({"author": stranger}, "The token's author is this wallet"),
        "another minter": ({"minter": stranger}, "The mint's minter is this wallet"),
        "another prompt": ({"generation.prompt": "a dog"}, "The prompt is the one that was bound"),
        "a prompt that is no text": ({"generation.prompt": ["a dog"]}, "The prompt is the one"),
        "letters of the prompt in its salt": (
            {
                "generation.prompt": prompt[6:],
                "generation.prompt_salt": salt + prompt[:6].encode().hex(),
            },
            "The prompt is the one that was bound",
        ),
        "another model": ({"generation.model": "x/y"}, "The metadata binds the model"),
        "another seed": ({"generation.seed": 0}, "The metadata binds the seed"),
        "another prediction": ({"generation.prediction": "x"}, "The metadata binds the prediction"),
        "another digest": ({"generation.prompt_sha256": "0"}, "The metadata binds the prompt"),
        "another chain": ({"chain_id": 8453}, "The node is of this chain"),
        "another contract": ({"contract": KEEPER.address}, "The contract is the one that is meant"),
        "another keeper": ({"reveal.keeper": stranger}, "The reveal is by this keeper"),
        "another metadata": (
            _metadata(text.replace("GLISK", "GLOSS")),
            "The token's URI is this metadata",
        ),
        "metadata that say a thing twice": (
            _metadata('{"image":"ipfs://x",' + text[1:]),
            "The metadata is canonical JSON",
        ),
        "metadata of another CID": (
            {"metadata.cid": other["metadata"]["cid"]},
            "The metadata has its CID",
        ),
        "another token": ({"token_id": other["token_id"]}, "The metadata names the token"),
        "a token of no mint": ({"token_id": 999}, "The mint is of this token"),
        "another mint": ({"mint.transaction": bundle["reveal"]["transaction"]}, "The mint is on"),
        "another log": ({"mint.log_index": mint["log_index"] - 1}, "The mint is on chain"),
        "a block of a mint that a reorg took": (
            {"mint.block_hash": "0x" + "00" * 32},
            "The mint's block is this one",
        ),
        "another time": ({"mint.minted_at": "2020-01-01T00:00:00+00:00"}, "The mint's block has"),
        "another reveal": ({"reveal.transaction": mint["transaction"]}, "The reveal is on chain"),
        "another block": ({"reveal.block_number": 1}, "The reveal's block is this one"),
        "a time of nowhere": ({"mint.minted_at": "2020-01-01T00:00:00"}, WHOLE),
        "nonsense": ({"mint.minted_at": "soon"}, WHOLE),
        "another version": ({"version": 2}, WHOLE),
        "a missing part": ({"reveal": None}, WHOLE),
    }
    for name, (changes, what) in falsified.items():
        changed = copy.deepcopy(bundle)
        for path, value in changes.items():
            part, _, key = path.rpartition(".")
            (changed[part] if part else changed)[key] = value
        false = [c for c in checks_of(changed, chain, vendors) if c.verdict == Verdict.FALSE]
        assert any(check.what.startswith(what) for check in false), (name, false)

    good, bad = directory / "good.jsonl", directory / "bad.json"
    good.write_text(lines.getvalue())
    bad.write_text(json.dumps(bundle | {"minter": KEEPER.address}))
    sources = ["--node", chain.rpc_url, "--gateway", vendors.gateway.url]
    assert main([str(good), *sources, "--contract", bundle["contract"]]) == 0
    assert main([str(good), *sources]) == 2  # is it the contract that is meant?
    assert main([str(good), *sources, "--contract", KEEPER.address]) == 1
    sources += ["--contract", bundle["contract"]]
    assert main([str(bad), *sources]) == 1
    assert main([str(good), *sources, "--node", "http://127.0.0.1:1"]) == 2


def _metadata(text: str) -> dict[str, str]:
    """Return the change to other metadata with their right CID."""
    return {"metadata.text": text, "metadata.cid": compute_cid(text.encode(), version=0)}
