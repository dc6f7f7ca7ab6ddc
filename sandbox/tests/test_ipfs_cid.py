"""Check the emulator's CIDs against those of npm `ipfs-unixfs-importer`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.pinata.ipfs_cid import InvalidCid, add_file, parse_cid

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "unixfs_cid_vectors.json").read_text()
)
PERIOD = bytes((i * 7) % 251 for i in range(251))


def test_cids_and_sizes_equal_the_reference() -> None:
    assert len(VECTORS) == 72
    for vector in VECTORS:
        added = add_file(
            (PERIOD * (vector["n"] // 251 + 1))[: vector["n"]],
            cid_version=vector["cidVersion"],
            raw_leaves=vector["rawLeaves"],
            chunk_size=vector["chunk"],
        )
        assert (str(added.cid), added.dag_size) == (vector["cid"], int(vector["size"])), vector


def test_pinata_json_example_in_both_versions() -> None:
    content = b'{"somekey":"somevalue"}'
    assert str(add_file(content, cid_version=1).cid) == (
        "bafkreicjmxc2drbgxtoidx6xfatbffyx46oiyo6ktipss6dhdermwtsoze"
    )
    assert str(add_file(content, cid_version=0).cid) == (
        "QmWQ5NcRCnDjjq9S87Rjo4RTgSDvmi1djy7SVftoi1T8jd"
    )


def test_parsing_gives_the_text_back_and_refuses_what_is_no_cid() -> None:
    for vector in VECTORS:
        assert str(parse_cid(vector["cid"])) == vector["cid"]
    for text in ("", "Qm", "Qm" + "0" * 44, "b", "bafkreixxx", "bafkrei" + "1" * 52, "zdj7W"):
        with pytest.raises(InvalidCid):
            parse_cid(text)
