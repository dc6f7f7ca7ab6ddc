"""CIDs against vectors of the reference importer (npm ipfs-unixfs-importer)."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glisk.cid import cid_matches, compute_cid, compute_dag, is_cid, parse_cid

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "unixfs_cid_vectors.json").read_text(encoding="utf-8")
)
V0 = "QmNv2Te3poKDS6kPeVUDbwXXsAY6FyFzC8xPxuBkJvDvdS"
V1 = "bafkreib7iuxn6dmu4qki7ibjr2arn7dp5y7etonjbsqjnu2oaccs6ymmfe"


@lru_cache(maxsize=2)
def blob(size: int) -> bytes:
    """The bytes that the vectors are made of: byte i is i * 7 mod 251."""
    period = bytes(i * 7 % 251 for i in range(251))
    return (period * (size // 251 + 1))[:size]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['n']}-v{v['cidVersion']}")
def test_a_vector_is_reproduced_with_its_size(vector: dict[str, Any]) -> None:
    dag = compute_dag(blob(vector["n"]), version=vector["cidVersion"])
    assert str(dag.cid) == vector["cid"]
    assert dag.dag_size_bytes == int(vector["size"])
    assert parse_cid(vector["cid"]) == dag.cid


@pytest.mark.parametrize("size", [0, 1024, 262_145])
def test_bytes_match_every_cid_that_names_them_and_no_other(size: int) -> None:
    data = blob(size)
    for vector in VECTORS:
        assert cid_matches(data, vector["cid"]) == (vector["n"] == size)


def test_a_deployed_metadata_file_has_its_cids() -> None:
    metadata = b'{"somekey":"somevalue"}'
    v1 = "bafkreicjmxc2drbgxtoidx6xfatbffyx46oiyo6ktipss6dhdermwtsoze"
    assert compute_cid(metadata, version=1) == v1
    assert compute_cid(metadata, version=0) == "QmWQ5NcRCnDjjq9S87Rjo4RTgSDvmi1djy7SVftoi1T8jd"


def test_what_is_no_canonical_cid_of_a_file_is_refused() -> None:
    for text in (
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
        "bafyrei" + V1[7:],  # dag-cbor
        "bé",
        "Qmé",
        # The same bits with a one in the padding of base32.
        V1[:-1] + "f",
    ):
        assert not is_cid(text), text
        assert not cid_matches(b"", text)
        with pytest.raises(ValueError, match="CID"):
            parse_cid(text)


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
