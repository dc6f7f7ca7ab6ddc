"""Run benchmarks from the command line: `python -m benchmarks NAME [options] [--json FILE]`."""

import sys

from benchmarks.command_line import main

sys.exit(main())
