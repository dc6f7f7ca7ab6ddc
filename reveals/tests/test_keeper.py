"""The keeper signs what it is told, for one chain and one contract, and hides its key."""

import pytest
from django.conf import settings as django_settings
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes
from pytest_django import Settings

from reveals.keeper import Keeper, SignedTransaction
from reveals.tests.stage import Scene, reveal
from sandbox.accounts import KEEPER
from tokens.tests.stage import Start


def signed(keeper: Keeper, **changes: int) -> SignedTransaction:
    numbers = {
        "nonce": 7,
        "gas_limit": 200_000,
        "max_fee_per_gas_wei": 12_000_000,
        "max_priority_fee_per_gas_wei": 1_000_000,
    }
    return keeper.sign(data="0x53de7804", **{**numbers, **changes})


def test_a_signature_is_the_keepers_and_binds_chain_and_contract() -> None:
    transaction = signed(Keeper.from_settings())
    assert Account.recover_transaction(transaction.raw) == KEEPER.address
    fields = TypedTransaction.from_bytes(HexBytes(transaction.raw)).as_dict()
    assert fields["chainId"] == django_settings.CHAIN_ID
    assert "0x" + bytes(fields["to"]).hex() == django_settings.GLISK_NFT_CONTRACT_ADDRESS.lower()
    assert (fields["nonce"], fields["gas"], fields["value"]) == (7, 200_000, 0)
    assert (fields["maxFeePerGas"], fields["maxPriorityFeePerGas"]) == (12_000_000, 1_000_000)
    assert transaction.tx_hash.startswith("0x") and len(transaction.tx_hash) == 66
    assert signed(Keeper.from_settings()) == transaction != signed(Keeper.from_settings(), nonce=8)


def test_nothing_shows_the_key(settings: Settings) -> None:
    keeper = Keeper.from_settings()
    for text in (repr(keeper), str(keeper), repr(vars(keeper))):
        assert KEEPER.private_key.removeprefix("0x") not in text.lower()
    settings.KEEPER_PRIVATE_KEY = "0x" + "zz" * 32
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is, it must not tell
        Keeper.from_settings()
    assert "zz" * 32 not in str(caught.value)


@pytest.mark.django_db
def test_the_key_shows_nowhere(
    worker: Start, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    drain, _ = reveal(worker, scene)
    key = KEEPER.private_key.removeprefix("0x")
    assert Account.from_key(key).address == KEEPER.address
    assert key not in caplog.text.lower()
    assert key not in repr(vars(drain.drain)).lower()
