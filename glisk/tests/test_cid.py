"""CIDs against vectors of the reference importer (npm ipfs-unixfs-importer)."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glisk.cid import Cid, cid_matches, compute_cid, compute_dag, is_cid, parse_cid

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
def test_a_vector_is_reproduced_with_its_size(vector: dict[str, Any]) -> None:
    data = blob(vector["n"])
    dag = compute_dag(
        data,
        version=vector["cidVersion"],
        chunk_size=vector["chunk"],
        raw_leaves=vector["rawLeaves"],
    )
    assert str(dag.cid) == vector["cid"]
    assert dag.dag_size_bytes == int(vector["size"])
    assert parse_cid(vector["cid"]) == dag.cid


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


@pytest.mark.parametrize("version", [0, 1])
def test_a_file_is_read_chunk_by_chunk(version: Any, tmp_path: Path) -> None:
    data = blob(40 * 262_144 + 1)
    path = tmp_path / "file"
    path.write_bytes(data)
    expected = compute_cid(data, version=version)
    assert compute_cid(memoryview(data), version=version) == expected
    tracemalloc.start()
    with path.open("rb") as file:
        assert compute_cid(file, version=version) == expected
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * 1024 * 1024


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
