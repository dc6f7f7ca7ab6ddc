"""Which tests run when: the fast ones while one works, the rest before a change is sent out.

pytest                the fast tier, in three processes: `make test`
pytest -m "not fast"  all other tiers: `make test-all`
pytest -m node        one of them
pytest FILE           every test of the file

Each test is in exactly one tier. It follows from where the test stands and what it uses; a mark
decides where that says too little. A fast test that starts a process fails.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FAST = "fast"
# By folder, then by fixture; the first that fits decides.
_FOLDERS = {"sandbox": "sandbox", "benchmarks": "bench"}
_FIXTURES = {
    "browser": "browser",
    "anvil_binary": "node",
    "qcluster": "process",
    "web": "process",
    "vendors": "sandbox",
    "kms": "sandbox",
    "plans": "plans",
}
_TIERS = {FAST, "pages", "schema", "random", "live", *_FOLDERS.values(), *_FIXTURES.values()}
# A whole file's, in one line.
_OF_A_TIER = re.compile(rf"^pytestmark = .*\.({'|'.join(_TIERS - {FAST})})\b", re.MULTILINE)
_STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn")

_may_start_processes = True


def pytest_configure(config: pytest.Config) -> None:
    sys.addaudithook(_refuse_processes)
    if not config.option.markexpr and not _names_tests(config):
        config.option.markexpr = FAST  # the processes that run the tests are told so, too


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three processes for a tier, which waits more than it works; one for what is named."""
    return 0 if _names_tests(config) or config.option.collectonly else 3


def _names_tests(config: pytest.Config) -> bool:
    return config.args_source is pytest.Config.ArgsSource.ARGS


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Spare the fast tier the imports of folders and files of another tier as a whole."""
    if config.option.markexpr != FAST:
        return None
    spared = [config.rootpath / name for name in _FOLDERS]
    if any(collection_path.is_relative_to(folder) for folder in spared):
        return True
    is_test = collection_path.match("test_*.py")
    return (is_test and bool(_OF_A_TIER.search(collection_path.read_text("utf-8")))) or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marked = _marked(item)
        if len(marked) > 1:
            raise pytest.UsageError(f"{item.nodeid} is in more than one tier: {sorted(marked)}")
        if not marked:
            item.add_marker(_tier_by_rule(item))


def _marked(item: pytest.Item) -> set[str]:
    return _TIERS.intersection(mark.name for mark in item.iter_markers())


def _tier_by_rule(item: pytest.Item) -> str:
    folder = item.nodeid.partition("/")[0]
    if folder in _FOLDERS:
        return _FOLDERS[folder]
    if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
        return "random"
    fixtures = getattr(item, "fixturenames", ())
    return next((tier for name, tier in _FIXTURES.items() if name in fixtures), FAST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    global _may_start_processes
    _may_start_processes = FAST not in _marked(item)
    try:
        return (yield)
    finally:
        _may_start_processes = True


def _refuse_processes(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _STARTS and not _may_start_processes:
        raise RuntimeError("a fast test starts no process: mark it as of the tier `process`")
