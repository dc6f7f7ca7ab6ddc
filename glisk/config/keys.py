"""Private keys in hex, judged without being kept: only the process that signs may know one."""

from __future__ import annotations

import multiprocessing
import re
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

SECP256K1_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HEX_KEY: Final = re.compile(r"(0x)?[0-9a-fA-F]{64}")
# The accounts of local test nodes: anvil (10) and hardhat (20) print their keys, so everybody has
# them.
_PRINTED: Final = """
0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266 0x70997970C51812dc3A010C7d01b50e0d17dc79C8
0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC 0x90F79bf6EB2c4f870365E785982E1f101E93b906
0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65 0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc
0x976EA74026E726554dB657fA54763abd0C3a0aa9 0x14dC79964da2C08b23698B3D3cc7Ca32193d9955
0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f 0xa0Ee7A142d267C1f36714E4a8F75612F20a79720
0xBcd4042DE499D14e55001CcbB24a551F3b954096 0x71bE63f3384f5fb98995898A86B02Fb2426c5788
0xFABB0ac9d68B0B445fB7357272Ff202C5651694a 0x1CBd3b2770909D4e10f157cABC84C7264073C9Ec
0xdF3e18d64BC6A983f673Ab319CCaE4f1a57C7097 0xcd3B766CCDd6AE721141F452C550Ca635964ce71
0x2546BcD3c84621e976D8185a91A922aE77ECEc30 0xbDA5747bFD65F08deb54cb465eB87D40e51B197E
0xdD2FD4581271e230360230F9337D5c0430Bf44C0 0x8626f6940E2eb28930eFb4CeF49B2d1F2C9C1199
"""
DEVELOPMENT_ADDRESSES: Final = frozenset(_PRINTED.split())


@dataclass(frozen=True)
class KeyFile:
    """A file that holds a private key, and the address of that key."""

    path: str = ""
    address: str = ""


@dataclass(frozen=True)
class Judgement:
    """What may be told of a private key; `is_public`: everybody has it."""

    problem: str = ""
    address: str = ""

    @property
    def is_public(self) -> bool:
        return self.address in DEVELOPMENT_ADDRESSES


def judge_form(text: str) -> Judgement:
    """Judge what a private key looks like: hex, with or without 0x. Its address stays unknown."""
    if not _HEX_KEY.fullmatch(text) or not 0 < int(text, 16) < SECP256K1_ORDER:
        return Judgement("is not a private key (64 hex digits, in the range of secp256k1)")
    return Judgement()


def judge_key(text: str) -> Judgement:
    """Judge a private key in hex, with or without 0x."""
    if (judged := judge_form(text)).problem:
        return judged
    from eth_keys.datatypes import PrivateKey  # a quarter of a second of CPU

    key = PrivateKey(int(text, 16).to_bytes(32, "big"))
    return Judgement(address=key.public_key.to_checksum_address())


def judge_apart(path: str) -> Judgement:
    """Judge the key in a file by a process of its own, which ends.

    What a process has read stays in its memory, freed or not, and in all that it forks: the
    supervisor and most of its children have no use for the key.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_judge_file, args=(path, theirs))
    process.start()
    theirs.close()
    with ours:
        try:
            judged: Judgement = ours.recv()
        except EOFError:
            judged = Judgement("cannot be judged: the process that read it has died")
    process.join()
    return judged


def _judge_file(path: str, answer: Connection) -> None:
    try:
        judged = judge_key(Path(path).read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError):
        judged = Judgement("cannot be read")
    answer.send(judged)
