#!/usr/bin/env python
"""Run a management command; what an operator can mend ends with one clear message."""

import gc
import os
import sys

from glisk import __version__
from glisk.config import ConfigurationError


def main() -> int:
    if sys.argv[1:] in (["--version"], ["version"]):  # Django's would be its own
        print(__version__)
        return 0
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "glisk.settings")
    gc.disable()  # all that is loaded stays; to look through it took a fifth of a start
    import django
    from django.conf import settings
    from django.core.management import execute_from_command_line

    try:
        settings.configured or settings.INSTALLED_APPS  # noqa: B018 - loads the settings now
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    django.setup()
    gc.freeze()
    gc.enable()
    from django.db import DatabaseError, InterfaceError

    try:
        execute_from_command_line(sys.argv)
    except (DatabaseError, InterfaceError) as error:
        from glisk.management.base import explain_database_error

        sentence = explain_database_error(error)
        if sentence is None or "--traceback" in sys.argv:
            raise
        print(sentence, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
