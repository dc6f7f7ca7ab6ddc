"""What two traces are compared by."""

import json

from benchmarks.golden_trace import STORED, as_text, difference, plain


def test_ids_and_times_are_no_difference() -> None:
    texts = [
        f"job 7{25 * letter} at http://127.0.0.1:{port}/ipfs/Qm{44 * letter}: 0x{64 * letter}"
        for letter, port in (("1", 4001), ("a", 50222))
    ]
    assert plain(texts[0]) == plain(texts[1])


def test_a_difference_is_shown_where_it_is() -> None:
    stored = as_text(json.loads(STORED.read_text()))
    changed = stored.replace("uploading > ready | attempt 1", "uploading > failed", 1)

    assert stored == STORED.read_text()
    assert difference(stored, stored) == ""
    changes = [line for line in difference(stored, changed).splitlines() if line[0] in "-+"][2:]
    assert [line.split() for line in changes] == [
        ["-", '"uploading', ">", "ready", "|", "attempt", '1",'],
        ["+", '"uploading', ">", 'failed",'],
    ]
