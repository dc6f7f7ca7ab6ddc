"""What tests of the recovery do to the chain and to the database."""

from __future__ import annotations

from glisk.clients.chain import ChainClient
from sandbox.accounts import AUTHORS, CONTRACT_ADDRESS, KEEPER
from sandbox.chain import DemoChain
from tokens.minting.mint_log import BATCH_MINTED_TOPIC, MintLog, decode_mint_log
from tokens.minting.registration import register_mints
from tokens.models import MintEvent, Token, TokenTransition
from tokens.models.mint import MintSource
from tokens.recovery.reorgs import ReorgReport
from tokens.recovery.scan import scan_chain
from tokens.states import TokenStatus

FOX, LIGHTHOUSE = AUTHORS[0].address, AUTHORS[1].address
DEPTHS = (1, 10)
URI = "ipfs://QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"


def mint(chain: DemoChain, author: str = FOX, quantity: int = 1, *, minter: int = 1) -> str:
    tx_hash = chain.mint(minter, author, quantity)
    chain.wait(tx_hash)
    return tx_hash


def look(reader: ChainClient) -> ReorgReport:
    return scan_chain(reader).reorgs


def look_until_sure(chain: DemoChain, reader: ChainClient) -> ReorgReport:
    """Look, let two blocks pass, and look again."""
    look(reader)
    chain.mine(2)
    return look(reader)


def logs_of(chain: DemoChain) -> list[MintLog]:
    asked = {"address": CONTRACT_ADDRESS, "fromBlock": "0x0", "topics": [BATCH_MINTED_TOPIC]}
    return [decode_mint_log(log) for log in chain.rpc("eth_getLogs", asked)]


def told_by_webhook(chain: DemoChain) -> list[MintLog]:
    """Register what the chain holds now as a webhook does."""
    logs = logs_of(chain)
    register_mints(logs, source=MintSource.WEBHOOK, actor="webhook")
    return logs


def states() -> dict[int, str]:
    return dict(Token.objects.values_list("token_id", "status"))


def bury(chain: DemoChain, depth: int) -> None:
    if depth > 1:
        chain.mine(depth - 1)


def reveal_here(token_id: int, uri: str = "ipfs://ours") -> None:
    Token.objects.filter(pk=token_id).update(
        status=TokenStatus.REVEALED,
        image_cid="image",
        metadata_cid=uri.removeprefix("ipfs://"),
        reveal_tx_hash=f"0x{7:064x}",
    )


def reveal(chain: DemoChain, *token_ids: int, uri: str = URI) -> str:
    tx_hash = chain.reveal(KEEPER.private_key, list(token_ids), [uri] * len(token_ids))
    assert chain.wait(tx_hash)["status"] == 1
    return tx_hash


def lose(*token_ids: int) -> None:
    """Forget tokens, and the mints that are left without any."""
    TokenTransition.objects.filter(token_id__in=token_ids).delete()
    Token.objects.filter(token_id__in=token_ids).delete()
    MintEvent.objects.filter(tokens=None).delete()
