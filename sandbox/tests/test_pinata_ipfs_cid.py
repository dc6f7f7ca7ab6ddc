"""Check the emulator's CIDs against those of npm `ipfs-unixfs-importer`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.pinata.ipfs_cid import InvalidCid, add_file, parse_cid

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "unixfs_cid_vectors.json").read_text()
)
PERIOD = bytes((i * 7) % 251 for i in range(251))


def pieces(size: int, piece: int = 100_003) -> Iterator[bytes]:
    """Give byte i = (i * 7) % 251 in pieces that fit no chunk."""
    turn = PERIOD * (piece // 251 + 2)
    for start in range(0, size, piece):
        offset = start % 251
        yield turn[offset : offset + min(piece, size - start)]


def test_there_are_72_vectors() -> None:
    assert len(VECTORS) == 72


@pytest.mark.parametrize(
    "vector",
    VECTORS,
    ids=lambda v: (
        f"{v['name']}-{v['chunk']}-v{v['cidVersion']}-{'raw' if v['rawLeaves'] else 'pb'}"
    ),
)
def test_cid_and_size_equal_the_reference(vector: dict[str, Any]) -> None:
    added = add_file(
        pieces(vector["n"]),
        cid_version=vector["cidVersion"],
        raw_leaves=vector["rawLeaves"],
        chunk_size=vector["chunk"],
    )
    assert str(added.cid) == vector["cid"]
    assert added.dag_size == int(vector["size"])


def test_pinata_json_example_in_both_versions() -> None:
    content = b'{"somekey":"somevalue"}'
    assert str(add_file([content], cid_version=1).cid) == (
        "bafkreicjmxc2drbgxtoidx6xfatbffyx46oiyo6ktipss6dhdermwtsoze"
    )
    assert str(add_file([content], cid_version=0).cid) == (
        "QmWQ5NcRCnDjjq9S87Rjo4RTgSDvmi1djy7SVftoi1T8jd"
    )


@pytest.mark.parametrize("text", sorted({vector["cid"] for vector in VECTORS}))
def test_parsing_gives_the_text_back(text: str) -> None:
    assert str(parse_cid(text)) == text


@pytest.mark.parametrize(
    "text", ["", "Qm", "Qm" + "0" * 44, "b", "bafkreixxx", "bafkrei" + "1" * 52, "zdj7W"]
)
def test_what_is_no_cid_is_refused(text: str) -> None:
    with pytest.raises(InvalidCid):
        parse_cid(text)
