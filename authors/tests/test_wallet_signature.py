"""What counts as a plain wallet's signature, and that nothing else does."""

import pytest
from eth_account.messages import defunct_hash_message

from authors.signatures.wallet_signature import (
    InvalidSignature,
    eip191_digest,
    verify_signature,
)
from authors.tests.wallets import AUTHOR, ORDER, OTHER, changed, high_s_twin, sign
from glisk.clients.chain import RpcClient
from glisk.clients.smart_wallets import SmartWalletClient

MESSAGE = "Update GLISK prompt for wallet: 0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
VECTOR = (
    "0xe2a6c5fff38f37bcdec0c9588eef3b72d35477241805fbf5ba0250ec276f9f46"
    "72782738636079be7f9c1aa28a1de4f176f48d9d50b1636c20690d4a4605bec81b"
)
# Nobody listens there: a plain wallet's signature must not depend on the chain.
NO_CHAIN = SmartWalletClient(RpcClient("http://127.0.0.1:9"))


def fault_of(signature: str, message: str = MESSAGE, wallet: str = AUTHOR.address) -> str:
    with pytest.raises(InvalidSignature) as caught:
        verify_signature(wallet=wallet, message=message, signature=signature, chain=NO_CHAIN)
    return caught.value.fault


def test_the_vector_is_accepted_without_its_27_and_in_upper_case() -> None:
    assert AUTHOR.address == "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
    assert sign(AUTHOR, MESSAGE) == VECTOR
    for signature in (VECTOR, changed(VECTOR, v=0), "0x" + VECTOR[2:].upper()):
        verify_signature(
            wallet=AUTHOR.address, message=MESSAGE, signature=signature, chain=NO_CHAIN
        )


def test_the_digest_is_that_of_eth_account() -> None:
    for text in ("", "a", MESSAGE, "schön ☂ \U0001f98a", "x" * 5000):
        assert eip191_digest(text) == bytes(defunct_hash_message(text=text))


def test_anything_else_is_refused() -> None:
    for signature, fault in (
        ("", "not_hex"),
        ("0x0", "not_hex"),
        (VECTOR[2:], "not_hex"),
        (VECTOR + "\n", "not_hex"),
        (VECTOR[:-1], "not_hex"),
        ("0X" + VECTOR[2:], "not_hex"),
        ("0x" + "٣" * 130, "not_hex"),  # digits, but not ASCII's
        (VECTOR[:-2], "length"),  # also the compact form of EIP-2098
        ("0x" + "00" * 64, "length"),
        ("0x" + "00" * 8193, "too_long"),
        (changed(VECTOR, v=2), "v"),
        (changed(VECTOR, v=29), "v"),
        (changed(VECTOR, v=255), "v"),
        (changed(VECTOR, v=28), "other_signer"),
        (changed(VECTOR, r=0), "range"),
        (changed(VECTOR, s=0), "range"),
        (changed(VECTOR, r=ORDER), "range"),
        (changed(VECTOR, s=ORDER), "range"),
        (changed(VECTOR, r=5), "other_signer"),  # no point of the curve
        (high_s_twin(VECTOR), "high_s"),
        ("0x" + "00" * 65, "range"),
        ("0x" + "ff" * 65, "v"),
        (sign(OTHER, MESSAGE), "other_signer"),
        (sign(AUTHOR, MESSAGE + " "), "other_signer"),
    ):
        assert fault_of(signature) == fault


def test_the_zero_address_signs_nothing() -> None:
    zero = "0x" + "00" * 20
    assert fault_of("0x" + "00" * 64 + "1b", wallet=zero) == "range"
    assert fault_of(sign(OTHER, MESSAGE), wallet=zero) == "other_signer"
