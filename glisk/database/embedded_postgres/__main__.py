"""Stop an embedded server from the command line."""

import sys
from pathlib import Path

from glisk.database.embedded_postgres import EmbeddedPostgresError, stop

if len(sys.argv) != 3 or sys.argv[1] != "stop":
    sys.exit("usage: python -m glisk.database.embedded_postgres stop DIRECTORY")
try:
    stop(Path(sys.argv[2]))
except EmbeddedPostgresError as error:
    sys.exit(str(error))
