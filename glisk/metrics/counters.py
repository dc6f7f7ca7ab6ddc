"""The counters and histograms of a process, by prometheus_client; kept in files of METRICS_DIR.

Labels are bounded: names of routes, vendors, steps and classes of errors, never an id, a path or a
text. Durations are in seconds.
"""

from __future__ import annotations

import os

from django.conf import settings

from glisk.metrics.files import slot

# The library reads it when it opens a file, and wants it before its metrics are made.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(settings.METRICS_DIR)

from prometheus_client import Counter, Histogram, values

# Slots instead of pids; none is taken before something is counted.
values.ValueClass = values.MultiProcessValue(slot)

_REQUEST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_CALL = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

http_request_seconds = Histogram(
    "glisk_http_request_seconds",
    "Requests by route, method and status, until the answer begins.",
    ["route", "method", "status"],
    buckets=_REQUEST,
    registry=None,
)
webhooks = Counter(
    "glisk_webhooks",
    "Deliveries of webhooks by vendor and verdict.",
    ["vendor", "verdict"],
    registry=None,
)
retries = Counter(
    "glisk_retries",
    "Tokens that wait for another attempt in their state, by the error's class.",
    ["error_class"],
    registry=None,
)
vendor_call_seconds = Histogram(
    "glisk_vendor_call_seconds",
    "Calls to vendors and nodes by outcome: ok, or the error's class.",
    ["vendor", "outcome"],
    buckets=_CALL,
    registry=None,
)
step_call_seconds = Histogram(
    "glisk_step_call_seconds",
    "Calls of the pipeline's steps by outcome: ok, or the error's class.",
    ["step", "outcome"],
    buckets=_CALL,
    registry=None,
)
