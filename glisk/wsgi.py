"""The WSGI application that gunicorn serves; a faulty environment ends with one clear message."""

import os
import sys

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from glisk.clients.http import surround_calls
from glisk.config import ConfigurationError
from glisk.web import BodyPlaces, bounded_call

# A gunicorn worker that exits so ends its master; with any other status it would be started anew
# for ever (gunicorn/arbiter.py, WORKER_BOOT_ERROR).
_CANNOT_START = 3

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "glisk.settings")
try:
    application = BodyPlaces(get_wsgi_application())
    surround_calls(bounded_call)
    # Before the workers fork: otherwise the first webhook after a start waits for all URLs.
    _ = get_resolver().url_patterns
except ConfigurationError as error:
    print(error, file=sys.stderr, flush=True)
    sys.exit(_CANNOT_START)
