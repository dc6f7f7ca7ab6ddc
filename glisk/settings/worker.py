"""The worker: which stages it works on, how many at once, how long it waits for whom."""

from glisk.settings.environment import env

ENABLE_IMAGE_WORKER = env.flag("ENABLE_IMAGE_WORKER", True)
ENABLE_IPFS_WORKER = env.flag("ENABLE_IPFS_WORKER", True)
ENABLE_REVEAL_WORKER = env.flag("ENABLE_REVEAL_WORKER", True)
POLL_INTERVAL_SECONDS = env.number("POLL_INTERVAL_SECONDS", 5.0, low=0.1, high=3600)
WORKER_BATCH_SIZE = env.integer("WORKER_BATCH_SIZE", 10, low=1, high=200)
UPLOAD_CONCURRENCY = env.integer("UPLOAD_CONCURRENCY", 10, low=1, high=200)
# A token that is in one state for longer makes no progress: an operator is told.
STUCK_AFTER_SECONDS = env.number("STUCK_AFTER_SECONDS", 120, low=1, high=86_400)
LEASE_SECONDS = env.number("LEASE_SECONDS", 60, low=5, high=3600)
DRAIN_BUDGET_SECONDS = env.number("DRAIN_BUDGET_SECONDS", 300, low=1, high=3600)
SHUTDOWN_GRACE_SECONDS = env.number("SHUTDOWN_GRACE_SECONDS", 25, low=1, high=600)
HTTP_CONNECT_TIMEOUT_SECONDS = env.number("HTTP_CONNECT_TIMEOUT_SECONDS", 5, low=0.1, high=60)
HTTP_READ_TIMEOUT_SECONDS = env.number("HTTP_READ_TIMEOUT_SECONDS", 30, low=0.1, high=300)
HTTP_POOL_SIZE = env.integer("HTTP_POOL_SIZE", 64, low=1, high=1000)
