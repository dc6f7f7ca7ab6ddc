"""Ethereum's hash, checksums and the contract's selectors equal those of eth_utils."""

import random

import eth_utils
import pytest

from glisk.clients.chain import codec
from glisk.config.addresses import is_miscased, keccak256, to_checksum_address

# https://eips.ethereum.org/EIPS/eip-55#test-cases
EIP_55 = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]


@pytest.mark.parametrize("address", EIP_55)
def test_the_checksums_of_eip_55(address: str) -> None:
    assert to_checksum_address(address.lower()) == address
    assert not is_miscased(address)


def test_a_letter_in_the_wrong_case_is_seen_and_one_case_is_no_checksum() -> None:
    address = EIP_55[4]
    assert is_miscased(address.replace("aA", "Aa", 1))
    assert not is_miscased(address.lower())
    assert not is_miscased("0x" + address[2:].upper())


def test_hash_and_checksum_are_those_of_eth_utils() -> None:
    chosen = random.Random(55)
    for length in range(40):
        data = chosen.randbytes(length)
        assert keccak256(data) == eth_utils.keccak(data)
        address = "0x" + chosen.randbytes(20).hex()
        assert to_checksum_address(address) == eth_utils.to_checksum_address(address)


def test_the_contracts_selectors_and_topics_are_those_of_eth_utils() -> None:
    abi = {entry["name"]: entry for entry in codec._ABI}
    selectors = codec.SELECTORS | {name: found for found, name in codec.CUSTOM_ERRORS.items()}
    assert selectors == {
        name: "0x" + eth_utils.abi.function_abi_to_4byte_selector(entry).hex()
        for name, entry in abi.items()
        if entry["type"] in ("function", "error")
    }
    topics = [
        eth_utils.abi.event_abi_to_log_topic(abi[name]).hex()
        for name in ("BatchMinted", "TokensRevealed")
    ]
    assert ["0x" + topic for topic in topics] == [codec.MINTED_TOPIC, codec.REVEALED_TOPIC]
    assert eth_utils.keccak(text="KEEPER_ROLE").hex() == codec.KEEPER_ROLE
