"""Judge mutants in forks of one process, in which all is imported and every test collected.

To start pytest takes longer than most mutants live. A mutant within a function is put in its place
in a fork: whoever holds the function has the new code.
"""

from __future__ import annotations

import ast
import gc
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import CodeType, FunctionType

import pytest

from benchmarks.mutants.reach import statements
from glisk.engine.process import die_with

TIMEOUT = "timeout"
_ALL_PASSED = "all passed"  # what says nothing is not believed
# What finds a function of a file: its name, and the line of its first decorator or `def`.
_Key = tuple[str, str, int]


class NoFork(Exception):
    """The mutant is no part of a function's body, or its fork ended without a word."""


class Forks:
    """A plugin of pytest that does `work` where the tests would run."""

    def __init__(self, work: Callable[[Forks], None]) -> None:
        self.work = work

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Failed("a test cannot be collected")
        self.session = session
        self.items = {item.nodeid: item for item in session.items}
        self.functions: dict[_Key, list[FunctionType]] = {}
        gc.unfreeze()  # what the tests' conftest.py froze
        for each in gc.get_objects():
            if isinstance(each, FunctionType):
                self.functions.setdefault(_key(each.__code__), []).append(each)
        gc.freeze()
        self.work(self)
        return True

    def first_failure(
        self, tests: Sequence[str], path: str, line: int, codes: tuple[str, str], seconds: float
    ) -> str:
        """Run tests with the second of two `codes` of a file, which differ at `line`.

        Returns the first test that failed, TIMEOUT, or nothing; raises `NoFork`.
        """
        key = _function_around(codes[0], path, line)
        new = next(code for code in _codes(compile(codes[1], path, "exec")) if _key(code) == key)
        functions = self.functions[key]
        read, write = os.pipe()
        judge, child = os.getpid(), os.fork()
        if not child:
            with suppress(BaseException):
                die_with(judge)
                os.setsid()  # it is killed with what its tests start
                for function in functions:
                    function.__code__ = new
                os.write(write, self._run([self.items[test] for test in tests]).encode())
                self.session._setupstate.teardown_exact(None)
            os._exit(0)
        os.close(write)
        try:
            ended = _wait(child, seconds)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        if not ended:
            os.waitpid(child, 0)
        with os.fdopen(read) as told:
            verdict = told.read() if ended else TIMEOUT
        if not verdict:
            raise NoFork
        return "" if verdict == _ALL_PASSED else verdict

    def _run(self, items: Sequence[pytest.Item]) -> str:
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.session.testsfailed:
                return item.nodeid
        return _ALL_PASSED


def _key(code: CodeType) -> _Key:
    return code.co_filename, code.co_name, code.co_firstlineno


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _function_around(source: str, path: str, line: int) -> _Key:
    """Return the outermost function whose body has the line; raise `NoFork` if there is none."""
    around = list(statements(ast.parse(source), line))
    function = next((each for each in around if isinstance(each, ast.FunctionDef)), None)
    if function is None or function is around[-1]:
        raise NoFork
    lines = [function.lineno, *(each.lineno for each in function.decorator_list)]
    return path, function.name, min(lines)


def _wait(child: int, seconds: float) -> bool:
    """Tell whether a child ended in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.02)
    return False
