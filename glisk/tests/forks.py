"""Programs run in forks of one process: a start of Python with Django costs two seconds of CPU."""

import atexit
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_SERVER = """
for _line in sys.stdin:
    _program, sys.argv = json.loads(_line)
    with tempfile.TemporaryFile() as _out, tempfile.TemporaryFile() as _err:
        _child = os.fork()
        if _child == 0:
            os.dup2(_out.fileno(), 1)
            os.dup2(_err.fileno(), 2)
            _status = 0
            try:
                exec(_program, globals())
            except SystemExit as _end:
                _status = int(_end.code or 0)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                _status = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(_status)
        _answer = [os.waitstatus_to_exitcode(os.waitpid(_child, 0)[1])]
        for _file in (_out, _err):
            _file.seek(0)
            _answer.append(_file.read().decode())
    print(json.dumps(_answer), flush=True)
"""


class Ended(NamedTuple):
    status: int
    output: str
    errors: str


class Forks:
    """A process that has run a prologue, and runs each program in a fork of itself."""

    def __init__(self, prologue: str, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"import json, os, sys, tempfile\n{prologue}\n{_SERVER}"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self._process.communicate)

    def run(self, program: str, *arguments: str) -> Ended:
        """Run a program to its end; `arguments` are its `sys.argv`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([program, arguments]) + "\n")
        self._process.stdin.flush()
        return Ended(*json.loads(self._process.stdout.readline()))
