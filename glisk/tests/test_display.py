"""Durations, amounts and foreign text look right and do no harm in the admin."""

from glisk.admin.formatting import (
    duration,
    ether,
    external_link,
    gwei,
    hash_link,
    json_block,
    short,
    text_block,
)


def test_durations() -> None:
    for seconds, text in {
        None: "–",
        0: "0 s",
        -3: "0 s",
        1.54: "1.5 s",
        59.6: "60 s",
        60: "1 min",
        200: "3 min 20 s",
        1_500: "25 min",
        7_260: "2 h 1 min",
        90_000: "1 d 1 h",
        5_000_000: "58 d",
    }.items():
        assert duration(seconds) == text


def test_amounts() -> None:
    for wei, in_ether, in_gwei in (
        (None, "–", "–"),
        (0, "0 ETH", "0 gwei"),
        (10**18, "1 ETH", "1000000000 gwei"),
        (250_000_000_000_000, "0.00025 ETH", "250000 gwei"),
        (6_100_000, "6.1e-12 ETH", "0.0061 gwei"),
    ):
        assert (ether(wei), gwei(wei)) == (in_ether, in_gwei)


def test_foreign_text_is_escaped_and_no_address_but_the_webs_becomes_a_link() -> None:
    for write in (json_block, text_block, short):
        assert "<script>" not in write("<script>alert(1)</script>")
    for url in ("javascript:alert(1)", "data:text/html,x", ""):
        assert external_link(url, "label") == "label"


def test_json_is_indented_and_other_text_stays() -> None:
    assert "{\n  &quot;a&quot;: &quot;é&quot;\n}" in json_block(b'{"a":"\\u00e9"}')
    assert ">not json<" in json_block("not json")
    assert json_block([]) == "–"


def test_whatever_is_cut_can_be_copied_whole() -> None:
    long = "0x" + "ab" * 20
    for shown in (short(long), hash_link(long, ""), hash_link(long, "https://explorer.example")):
        assert f'title="{long}"' in shown
        assert f'class="glisk-copy" value="{long}" aria-label="Copy 0xababab…ababab"' in shown
    assert "glisk-copy" not in short("")
    assert "<script>" not in hash_link("<script>", "https://explorer.example")
