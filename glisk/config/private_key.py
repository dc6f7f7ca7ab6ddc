"""Judge the keeper's private key without keeping it: only the process that signs may know it."""

from __future__ import annotations

import multiprocessing
import re
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from glisk.config.development_accounts import SECP256K1_ORDER, address_of, development_addresses

_HEX_KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}")


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
    is_public: bool = False


def judge_key(text: str) -> Judgement:
    """Judge a private key in hex, with or without 0x."""
    if not _HEX_KEY.fullmatch(text) or not 0 < int(text, 16) < SECP256K1_ORDER:
        return Judgement("is not a private key (64 hex digits, in the range of secp256k1)")
    address = address_of(text)
    return Judgement(address=address, is_public=address in development_addresses())


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
