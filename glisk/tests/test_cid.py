"""CIDs against vectors of the reference importer (npm ipfs-unixfs-importer)."""

from __future__ import annotations

import hashlib
import io
import json
import tracemalloc
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glisk.cid import DAG_PB, Cid, cid_matches, compute_cid, compute_dag, is_cid, parse_cid

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "unixfs_cid_vectors.json").read_text(encoding="utf-8")
)
V0 = "QmNv2Te3poKDS6kPeVUDbwXXsAY6FyFzC8xPxuBkJvDvdS"
V1 = "bafkreib7iuxn6dmu4qki7ibjr2arn7dp5y7etonjbsqjnu2oaccs6ymmfe"
V1_DAG = "bafybeiaat6er652ex7lfdwv37rq6wcvvyc7xqkltcolv7tckn547xu65pu"


@lru_cache(maxsize=2)
def blob(size: int) -> bytes:
    """The bytes that the vectors are made of: byte i is i * 7 mod 251."""
    period = bytes(i * 7 % 251 for i in range(251))
    return (period * (size // 251 + 1))[:size]


def test_there_are_72_vectors() -> None:
    assert len(VECTORS) == 72


@pytest.mark.parametrize(
    "vector",
    VECTORS,
    ids=lambda v: f"{v['n']}-{v['chunk']}-v{v['cidVersion']}-{'raw' if v['rawLeaves'] else 'pb'}",
)
def test_vector_is_reproduced_with_its_size(vector: dict[str, Any]) -> None:
    data = blob(vector["n"])
    dag = compute_dag(
        data,
        version=vector["cidVersion"],
        chunk_size=vector["chunk"],
        raw_leaves=vector["rawLeaves"],
    )
    assert dag.cid == vector["cid"]
    assert dag.dag_size_bytes == int(vector["size"])
    assert dag.file_size_bytes == vector["n"]
    assert str(parse_cid(dag.cid)) == dag.cid


@pytest.mark.parametrize("size", [0, 1024, 262_145, 1_048_577])
def test_bytes_match_every_cid_that_names_them_and_no_other(size: int) -> None:
    data = blob(size)
    for vector in VECTORS:
        assert cid_matches(data, vector["cid"]) == (vector["n"] == size)


def test_pinatas_choices_are_the_defaults() -> None:
    data = blob(307_200)
    assert compute_cid(data, version=1) == V1_DAG
    assert compute_cid(data, version=0) == "Qma3CdQqjU1whicNVPT7vnWmR2QJZgHqu9Yxi4t6T1JgCZ"
    metadata = b'{"somekey":"somevalue"}'
    assert (
        compute_cid(metadata, version=1)
        == "bafkreicjmxc2drbgxtoidx6xfatbffyx46oiyo6ktipss6dhdermwtsoze"
    )
    assert compute_cid(metadata, version=0) == "QmWQ5NcRCnDjjq9S87Rjo4RTgSDvmi1djy7SVftoi1T8jd"


class OddReader(io.RawIOBase):
    """A file that gives less than it is asked for, as pipes and sockets do."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(size, 100_003))


@pytest.mark.parametrize("version", [0, 1])
def test_files_and_pieces_of_any_size_give_the_same_cid(version: Any) -> None:
    data = blob(1_048_577)
    expected = compute_cid(data, version=version)
    pieces = [data[start : start + 70_001] for start in range(0, len(data), 70_001)]
    assert compute_cid(io.BytesIO(data), version=version) == expected
    assert compute_cid(OddReader(data), version=version) == expected
    assert compute_cid(pieces, version=version) == expected
    assert compute_cid([data[:10], data[10:]], version=version) == expected
    assert compute_cid([b"", *pieces, b""], version=version) == expected
    assert compute_cid(memoryview(data), version=version) == expected
    assert compute_cid(bytearray(data), version=version) == expected


def test_a_large_stream_needs_the_memory_of_a_few_chunks() -> None:
    piece = blob(262_144)

    def stream() -> Iterator[bytes]:
        for _ in range(400):  # 100 MiB, three levels
            yield piece

    tracemalloc.start()
    compute_cid(stream(), version=1)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


@pytest.mark.parametrize("leaves", [1, 2, 3, 4, 8, 9, 10, 27, 28, 82])
def test_the_tree_is_balanced_at_every_width_boundary(leaves: int) -> None:
    """Compared with the importers' definition, written as whole rows instead of a stream."""
    data = blob(leaves * 10)

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    def field(number: int, payload: bytes) -> bytes:
        return bytes([number << 3 | 2]) + varint(len(payload)) + payload

    row = []
    for start in range(0, len(data), 10):
        digest = hashlib.sha256(data[start : start + 10]).digest()
        row.append((b"\x01\x55\x12\x20" + digest, 10, 10))
    while len(row) > 1:
        parents = []
        for start in range(0, len(row), 3):
            children = row[start : start + 3]
            links = b"".join(
                field(2, field(1, cid) + b"\x12\x00\x18" + varint(size))
                for cid, size, _ in children
            )
            total = sum(length for _, _, length in children)
            sizes = b"".join(b"\x20" + varint(length) for _, _, length in children)
            block = links + field(1, b"\x08\x02\x18" + varint(total) + sizes)
            digest = hashlib.sha256(block).digest()
            size = len(block) + sum(size for _, size, _ in children)
            parents.append((b"\x01\x70\x12\x20" + digest, size, total))
        row = parents
    dag = compute_dag(data, version=1, chunk_size=10, max_links=3)
    codec = 0x55 if leaves == 1 else DAG_PB
    assert dag.cid == str(Cid(version=1, codec=codec, digest=row[0][0][4:]))
    assert (dag.dag_size_bytes, dag.file_size_bytes) == (row[0][1], leaves * 10)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Qm",
        "ipfs://" + V1,
        V1 + " ",
        V1.upper(),
        V1[:-1],
        V1 + "a",
        V1.replace("b", "0", 1),
        V0[:-1],
        V0 + "1",
        V0.lower(),
        V0.replace("N", "0", 1),
        "Qm" + "z" * 44,
        "Qm" + "1" * 44,
        "b" + "a" * 200,
        "bafkqaaa",
        "bé",
        "Qmé",
        # The same bits with a one in the padding of base32.
        V1[:-1] + "f",
    ],
)
def test_what_is_no_canonical_cid_is_refused(text: str) -> None:
    assert not is_cid(text)
    assert not cid_matches(b"", text)
    with pytest.raises(ValueError, match=r"CID|varint"):
        parse_cid(text)


@pytest.mark.parametrize("text", [V0, V1, V1_DAG])
def test_usual_cids_are_recognised(text: str) -> None:
    assert is_cid(text)


def test_other_codecs_are_cids_but_match_no_file() -> None:
    cbor = str(Cid(version=1, codec=0x71, digest=hashlib.sha256(b"x").digest()))
    assert is_cid(cbor) and not cid_matches(b"x", cbor)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_answered_with_yes_or_no(text: str) -> None:
    assert is_cid(text) in (True, False)


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([0, 1]))
def test_one_changed_bit_changes_the_cid(data: bytes, version: Any) -> None:
    cid = compute_cid(data, version=version)
    assert cid_matches(data, cid)
    assert not cid_matches(data + b"\0", cid)


@pytest.mark.parametrize(
    "options", [{"version": 2}, {"version": 1, "chunk_size": 0}, {"version": 1, "max_links": 1}]
)
def test_senseless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        compute_cid(b"x", **options)
