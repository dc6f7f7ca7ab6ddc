"""Which tests reach a line, and how long each of them takes.

As a plugin of pytest (`-p benchmarks.mutants.reach`, GLISK_REACH=<folder>) it records both, by
coverage.py's contexts. `Reach` answers from what was recorded.
"""

from __future__ import annotations

import ast
import json
import math
import os
import re
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator
from functools import cache, cached_property
from itertools import accumulate
from pathlib import Path

import pytest
from coverage import Coverage

PRODUCTION = ("authors", "glisk", "reveals", "tokens", "webhooks")


class Recorder:
    """Lets each test be a context, in every process that runs tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()
        self.coverage = Coverage(
            data_file=folder / "lines",
            data_suffix=True,
            config_file=False,
            include=[f"{Path.cwd()}/{name}/*" for name in PRODUCTION],
            omit=["*/tests/*", "*/migrations/*"],
        )
        self.coverage.set_option("run:disable_warnings", ["no-data-collected"])
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.coverage.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self.coverage.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.coverage.stop()
        self.coverage.save()
        if not hasattr(session.config, "workerinput"):
            passed = {test: s for test, s in self.seconds.items() if test not in self.failed}
            files = {test.partition("::")[0] for test in self.seconds}
            known = _read_seconds(self.folder)
            kept = {test: s for test, s in known.items() if test.partition("::")[0] not in files}
            (self.folder / "seconds.json").write_text(json.dumps(kept | passed, indent=1))


def _read_seconds(folder: Path) -> dict[str, float]:
    file = folder / "seconds.json"
    return json.loads(file.read_text()) if file.exists() else {}


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Recorder(Path(os.environ["GLISK_REACH"])))


class Reach:
    """What was recorded in `folder` of the source in `root`, of the tests that passed."""

    def __init__(self, folder: Path, root: Path) -> None:
        combined = Coverage(data_file=folder / "lines", config_file=False)
        combined.load()
        if list(folder.glob("lines.*")):  # a part of each process
            combined.combine()
            combined.save()
        self.data = combined.get_data()
        self.seconds = _read_seconds(folder)
        self.root = root
        self.budget = math.inf  # seconds
        self.by_line = cache(self._by_line)
        self.tree = cache(lambda path: ast.parse((root / path).read_text()))

    def tests(self, path: str, line: int) -> list[str]:
        """Return tests that reach the statement of a line, as many as the budget allows.

        Those of the line's own app stand first, and the cheapest of them.
        """
        found = self._reaching(path, line, set())
        around = statements(self.tree(path), line)
        if not found and not any(isinstance(each, ast.FunctionDef) for each in around):
            found = self._at(path)
        app = path.partition("/")[0]
        known = [
            (not test.startswith(app), self.seconds[test], test)
            for test in found & self.seconds.keys()
        ]
        tests = [test for _, _, test in sorted(known)]
        until = list(accumulate(self.seconds[test] for test in tests))
        return tests[: max(1, bisect(until, self.budget))]

    def _by_line(self, path: str) -> dict[int, list[str]]:
        return self.data.contexts_by_lineno(str(self.root / path))

    def _at(self, path: str, lines: range | None = None) -> set[str]:
        known = self.by_line(path)
        return {test for at in lines or known for test in known.get(at, ()) if test}

    def _reaching(
        self, path: str, line: int, seen: set[tuple[str, int]], deeper: int = 2
    ) -> set[str]:
        """Find the tests of a line; of what runs at import, those of the lines that name it."""
        around = list(statements(self.tree(path), line))
        if not around or (path, around[-1].lineno) in seen:
            return set()
        inner = around[-1]
        seen.add((path, inner.lineno))
        if isinstance(inner, ast.FunctionDef):
            return self._at(path, range(inner.body[0].lineno, (inner.end_lineno or line) + 1))
        if any(isinstance(each, ast.FunctionDef) for each in around):
            body = getattr(inner, "body", None)
            end = body[0].lineno if body else (inner.end_lineno or line) + 1
            return self._at(path, range(inner.lineno, end)) | self._at(path, range(line, line + 1))
        if isinstance(inner, ast.ClassDef):
            names = {inner.name}
        else:
            known = [each for each in ast.walk(inner) if isinstance(each, ast.Name)]
            names = {each.id for each in known if isinstance(each.ctx, ast.Store)}
        places = {place for name in names for place in self.mentions[name]} if deeper else set()
        return {test for place in places for test in self._reaching(*place, seen, deeper - 1)}

    @cached_property
    def mentions(self) -> dict[str, set[tuple[str, int]]]:
        found: dict[str, set[tuple[str, int]]] = defaultdict(set)
        for name in PRODUCTION:
            for file in (self.root / name).rglob("*.py"):
                path = str(file.relative_to(self.root))
                if not {"tests", "migrations"} & set(file.parts):
                    for number, text in enumerate(file.read_text().splitlines(), 1):
                        for word in re.findall(r"\w+", text):
                            found[word].add((path, number))
        return found


def statements(tree: ast.AST, line: int) -> Iterator[ast.stmt]:
    """Yield the statements around a line, the outermost first; a decorator is its function's."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.match_case):
            yield from statements(node, line)
        elif isinstance(node, (ast.stmt, ast.excepthandler)):
            first = min(each.lineno for each in [node, *getattr(node, "decorator_list", ())])
            if first <= line <= (node.end_lineno or first):
                if isinstance(node, ast.stmt):
                    yield node
                yield from statements(node, line)
