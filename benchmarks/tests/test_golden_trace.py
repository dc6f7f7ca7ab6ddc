"""What two traces are compared by, and what the recorder of the code's path notes."""

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks import call_recorder
from benchmarks.golden_trace import STORED, as_text, difference, plain

PROGRAM = """
import at_start, later
open({begin!r}, "w")
import time; time.sleep(0.1)
later.work()
"""


def test_ids_and_times_are_no_difference() -> None:
    texts = [
        f"job 7{25 * letter} at http://127.0.0.1:{port}/ipfs/Qm{44 * letter}: 0x{64 * letter}"
        for letter, port in (("1", 4001), ("a", 50222))
    ]

    assert plain(texts[0]) == plain(texts[1])
    assert plain("2 of the tokens, 26 letters or abcdefghijklmnopqrstuvwxyz").startswith("2 of")


def test_a_difference_is_shown_where_it_is() -> None:
    stored = as_text(json.loads(STORED.read_text()))
    changed = stored.replace("uploading > ready | attempt 1", "uploading > failed", 1)

    assert stored == STORED.read_text()
    assert difference(stored, stored) == ""
    lines = difference(stored, changed).splitlines()[2:]
    assert [line.split() for line in lines if line[0] in "-+"] == [
        ["-", *['"uploading', ">", "ready", "|", "attempt", '1",']],
        ["+", *['"uploading', ">", 'failed",']],
    ]


def test_only_functions_that_run_from_the_beginning_on_are_noted(tmp_path: Path) -> None:
    root, notes = tmp_path / "root", tmp_path / "notes"
    root.mkdir()
    notes.mkdir()
    (root / "at_start.py").write_text("def work(): pass\nwork()\n")
    (root / "later.py").write_text(
        "from threading import Thread\nimport thread\n"
        "def work():\n    Thread(target=thread.work).run()\n"
    )
    (root / "thread.py").write_text("def work(): pass\n")
    (notes / "sitecustomize.py").write_text(Path(call_recorder.__file__).read_text())
    environment = {
        "PYTHONPATH": f"{notes}:{root}",
        call_recorder.DIRECTORY: str(notes),
        call_recorder.ROOT: f"{root}/",
    }

    program = PROGRAM.format(begin=str(notes / "begin"))
    with subprocess.Popen([sys.executable, "-c", program], env=os.environ | environment) as process:
        assert process.wait(60) == 0

    found = (notes / f"{process.pid}.txt").read_text().split()
    assert sorted(Path(file).name for file in found) == ["later.py", "thread.py"]
