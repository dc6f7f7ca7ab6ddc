"""The test suite's settings with the test drains in place of the program's tasks."""

import os

from glisk.tests.settings import *  # noqa: F403
from glisk.tests.settings import INSTALLED_APPS, LOGGING

INSTALLED_APPS = [*INSTALLED_APPS, "glisk.tests.engine.world.apps.WorldConfig"]
DRAIN_BUDGET_SECONDS = float(os.environ.get("TEST_DRAIN_BUDGET_SECONDS", "300"))
SHUTDOWN_GRACE_SECONDS = float(os.environ.get("TEST_SHUTDOWN_GRACE_SECONDS", "15"))
LOGGING["root"]["level"] = os.environ.get("TEST_LOG_LEVEL", "WARNING")
# A folder: calls under way end when their drain does, however long they would take.
STOP_FILES = os.environ.get("TEST_STOP_FILES", "")
POLL_INTERVAL_SECONDS = float(os.environ.get("TEST_POLL_INTERVAL_SECONDS", "1"))
DO_GAMMA = os.environ.get("TEST_DO_GAMMA") == "1"
