"""Whom to tell what goes wrong, when, and where to read on."""

from glisk.config.formats import is_http_url
from glisk.config.notification_urls import judge, secret_parts, split_urls
from glisk.settings.processes import env

# Addresses of apprise: the first get everything, the others what needs a person tonight.
ALERT_URLS = split_urls(env.secret("ALERT_URLS", ""))
ALERT_PAGE_URLS = split_urls(env.secret("ALERT_PAGE_URLS", ""))
judge(env, ALERT_URLS=ALERT_URLS, ALERT_PAGE_URLS=ALERT_PAGE_URLS)
# Seconds: what is over sooner is not told, and what lasts is told again.
ALERT_AFTER_SECONDS = env.number("ALERT_AFTER_SECONDS", 60, low=0, high=86_400)
ALERT_REPEAT_SECONDS = env.number("ALERT_REPEAT_SECONDS", 14_400, low=0, high=2_592_000)
HEARTBEAT_URL = env.secret("HEARTBEAT_URL", "")
if HEARTBEAT_URL and not is_http_url(HEARTBEAT_URL):
    env.fault("HEARTBEAT_URL", "is not a URL (http or https)")
env.secrets += [("HEARTBEAT_URL", _part) for _part in secret_parts(HEARTBEAT_URL)]
RUNBOOK_URL = env.text("RUNBOOK_URL", "docs/runbook.md")
