"""Ready tokens that stand on a real chain, with their bytes at a gateway."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from eth_utils.crypto import keccak

from authors.models import Author
from glisk.cid import compute_cid
from glisk.models import SystemState
from reveals.models import RevealBatch, RevealTransaction
from reveals.outbox import Shared, Unsigned, store_signed
from reveals.pipeline.sign import Sign
from sandbox.accounts import AUTHORS, KEEPER
from sandbox.chain import DemoChain
from sandbox.gateway.emulator import GatewayEmulator
from sandbox.pinata.store import ContentStore
from tokens.models import Token, TokenTransition
from tokens.pipeline.collect import build_metadata
from tokens.recovery.drift import last_report
from tokens.states import TokenStatus
from tokens.tests.factories import MintEventFactory, TokenFactory
from tokens.tests.stage import Start, Worker

TOKEN_URIS_SLOT = 21  # mapping(uint256 => string) _tokenURIs


class Scene:
    """A chain, a gateway, and the tokens that a test mints."""

    def __init__(self, chain: DemoChain, gateway: GatewayEmulator, store: ContentStore) -> None:
        self.chain, self.gateway, self.store = chain, gateway, store

    def mint(self, quantity: int = 1, *, author: str = AUTHORS[0].address) -> list[Token]:
        """Mint on chain, and bring the tokens to `ready` as the pipeline does."""
        receipt = self.chain.wait(self.chain.mint(1, author, quantity))
        (mint,) = [m for m in self.chain.mints(receipt["blockNumber"]) if m.quantity == quantity]
        owner, _ = Author.objects.get_or_create(
            wallet_address=author, defaults={"prompt_text": "a fox"}
        )
        minted_at = datetime.fromtimestamp(mint.block_timestamp, tz=UTC)
        event = MintEventFactory.create(
            tx_hash=mint.tx_hash,
            log_index=mint.log_index,
            block_number=mint.block_number,
            block_hash=mint.block_hash,
            block_timestamp=minted_at,
            minter=mint.minter,
            prompt_author=mint.prompt_author,
            start_token_id=mint.start_token_id,
            quantity=mint.quantity,
        )
        return [
            self._ready(token_id, owner, event=event, minted_at=minted_at, minter=mint.minter)
            for token_id in range(mint.start_token_id, mint.start_token_id + quantity)
        ]

    def _ready(self, token_id: int, owner: Author, **facts: object) -> Token:
        image = f"image of token {token_id}".encode()
        image_cid = self.pin(image, version=1)
        text = build_metadata(
            token_id=token_id, image_cid=image_cid, twitter_handle=None, farcaster_handle=None
        )
        token: Token = TokenFactory.create(
            token_id=token_id,
            author=owner,
            prompt_author_wallet=owner.wallet_address,
            minter_address=facts["minter"],
            mint_event=facts["event"],
            mint_timestamp=facts["minted_at"],
            status=TokenStatus.READY,
            image_cid=image_cid,
            metadata_text=text,
            metadata_cid=self.pin(text.encode(), version=0),
        )
        return token

    def pin(self, data: bytes, *, version: int) -> str:
        """Put bytes where the gateway finds them; return their CID."""
        cid = compute_cid(data, version=1 if version else 0)
        self.store.write(cid, data)
        return cid

    def jam(self, token_id: int, *, jammed: bool = True) -> None:
        """Make every reveal of the token revert with a panic that names nobody.

        Its URI's slot says "long string" and a length below 32, which Solidity refuses.
        """
        slot = keccak(token_id.to_bytes(32) + TOKEN_URIS_SLOT.to_bytes(32)).hex()
        value = f"0x{int(jammed):064x}"
        self.chain.rpc("anvil_setStorageAt", self.chain.contract.address, f"0x{slot}", value)

    def nonce(self) -> int:
        """How many transactions of the keeper are mined."""
        return int(self.chain.rpc("eth_getTransactionCount", KEEPER.address, "latest"), 16)

    def pool(self) -> list[str]:
        """The hashes of the keeper's transactions that wait to be mined."""
        content = self.chain.rpc("txpool_content")
        waiting: list[str] = []
        for part in ("pending", "queued"):
            for sender, by_nonce in content[part].items():
                if sender.lower() == KEEPER.address.lower():
                    waiting += [by_nonce[nonce]["hash"] for nonce in sorted(by_nonce, key=int)]
        return waiting

    def revealed_once(self, tokens: Sequence[Token]) -> bool:
        """Whether database and chain agree that each was revealed, with its URI, exactly once."""
        ids = [token.token_id for token in tokens]
        if Token.objects.filter(pk__in=ids, status=TokenStatus.REVEALED).count() != len(ids):
            return False
        events = self.chain.reveal_transactions()
        counted = [token_id for event in events for token_id in event.token_ids]
        if not set(ids) <= set(counted):
            return False  # a reorg took it back, and the database has yet to hear of it
        assert sorted(t for t in counted if t in ids) == sorted(ids)
        if RevealBatch.objects.filter(status="open", items__token__in=ids).exists():
            return False  # it was opened again, and has yet to be closed by what was mined
        by_hash = {event.tx_hash: event for event in events}
        for token in Token.objects.filter(pk__in=ids):
            assert self.chain.token_uri(token.token_id) == token.token_uri
            assert token.token_id in by_hash[str(token.reveal_tx_hash)].token_ids
            assert token.revealed_at is not None
        return True


def transactions() -> list[RevealTransaction]:
    return list(RevealTransaction.objects.order_by("pk"))


def statuses() -> list[str]:
    return [row.status for row in transactions()]


def breaker_reason(vendor: str = "chain") -> str:
    """Return why the breaker is open, or an empty text."""
    row = SystemState.objects.filter(state_key=f"breaker:{vendor}").first()
    if row is None or row.state_value.get("state") != "open":
        return ""
    return str(row.state_value["reason"])


def is_held_back(vendor: str = "chain") -> bool:
    return bool(breaker_reason(vendor))


def replacement(old: RevealTransaction) -> RevealTransaction:
    """Sign and store a call with twice the fees, as another process would."""
    fees = (2 * int(old.max_fee_per_gas_wei), 2 * int(old.max_priority_fee_per_gas_wei))
    call = Unsigned(list(old.token_ids), list(old.metadata_uris), old.gas_limit, *fees)
    old.batch.to_sign = asdict(call)
    old.batch.save()
    signed = Sign("another", Shared()).call(old.batch)
    assert store_signed(old.batch, signed)
    return RevealTransaction.objects.get(tx_hash=signed.tx_hash)


def signed_and_dead(start: Start) -> RevealTransaction:
    """Leave a stored transaction that no node has seen."""
    worker = start()
    submit = worker.drain.submit

    def hold(kind: str, key: object, function: Callable[..., object], *arguments: object) -> None:
        if kind != "send":
            submit(kind, key, function, *arguments)

    worker.drain.submit = hold
    worker.until(RevealTransaction.objects.exists)
    worker.crash()
    return transactions()[0]


def in_the_pool(start: Start, scene: Scene, quantity: int = 1) -> tuple[Worker, list[Token]]:
    """Have tokens' transaction broadcast to a node that mines nothing."""
    tokens = scene.mint(quantity)
    scene.chain.set_automine(False)
    drain = start()
    drain.until(lambda: statuses() == ["broadcast"])
    return drain, tokens


def timeline(token: Token) -> list[str]:
    moves = TokenTransition.objects.filter(token_id=token.pk).order_by("pk")
    return [move.to_status for move in moves]


def reveal(
    worker: Start, scene: Scene, quantity: int = 1, *, blocks: int = 0
) -> tuple[Worker, list[Token]]:
    """Have tokens revealed, with so many blocks between their mint and the reveal."""
    tokens = scene.mint(quantity)
    if blocks:
        scene.chain.mine(blocks)
    drain = worker()
    drain.until(lambda: scene.revealed_once(tokens))
    return drain, tokens


def are_read_back() -> bool:
    return not RevealTransaction.objects.filter(read_back_at=None).exists()


def drift() -> list[tuple[str, int | None]]:
    return [(finding.kind, finding.token_id) for finding in last_report().findings]
