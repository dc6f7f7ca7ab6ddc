"""gunicorn's settings; `python -m gunicorn` in this directory finds them by itself.

The settings are loaded before any worker starts: a faulty environment ends the start with
one message, and the workers share the loaded code's memory.
"""

import errno
import gc
import os
import signal
import socket
import sys
import time
from logging.config import dictConfig
from pathlib import Path
from types import FrameType

from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

sys.path.insert(0, str(Path(__file__).resolve().parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "glisk.settings")

from django.conf import settings

from glisk.config import ConfigurationError
from glisk.engine.process import die_with
from glisk.web import MOST_BODIES

gc.disable()  # until all is loaded (when_ready)

try:
    _host = f"[{settings.HOST}]" if ":" in settings.HOST else settings.HOST
except ConfigurationError as error:
    print(error, file=sys.stderr)
    sys.exit(1)


_PORT_PATIENCE_SECONDS = 3.0


class PipelineLogger(Logger):
    """Send gunicorn's own lines through the pipeline of all others (settings.LOGGING)."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        dictConfig(settings.LOGGING)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True


wsgi_app = "glisk.wsgi"
bind = f"{_host}:{settings.PORT}"
# No database connection is open yet when the workers fork: pools are made at first use.
preload_app = True
worker_class = "gthread"
workers = settings.WEB_WORKERS
# Live streams wait most of the time; they have threads of their own, so that however many are
# open, WEB_THREADS requests are answered at once (tokens/api/streams.py). So do requests with
# a body, which wait for their senders (glisk/web.py). A thread is made when it is
# needed.
threads = settings.WEB_THREADS + settings.WEB_STREAMS + MOST_BODIES
# Alchemy sends no long lines; a tool that repeats a parameter gets an answer of ours, not a reset.
limit_request_line = 8190
proc_name = "glisk-web"

# A worker whose main loop stands still for so long is replaced. Requests run in threads and
# do not count; what they wait for (the database, nothing else) has bounds of its own.
timeout = 30
graceful_timeout = int(settings.SHUTDOWN_GRACE_SECONDS)
# Longer than the idle time of the usual proxies (60 s), so that it is they who hang up.
keepalive = 75
# The heartbeat file must not be on a disk that may block.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - memory
# Nobody uses the control socket; without it there is one thread fewer.
control_socket_disable = True
# Only Django reads X-Forwarded-Proto, in production (SECURE_PROXY_SSL_HEADER); gunicorn itself
# believes no forwarded header from another machine.
forwarded_allow_ips = "127.0.0.1,::1"

# There is no access log: the proxy writes one, and the metrics count requests.
logger_class = PipelineLogger
accesslog = None


def on_starting(server: Arbiter) -> None:
    """End with one sentence where the port is taken; gunicorn's own words are eleven lines.

    A port that the last web server is about to leave is waited for. Sockets that somebody hands
    over (systemd, gunicorn's upgrade by SIGUSR2) are open already.
    """
    if os.environ.keys() & {"GUNICORN_FD", "LISTEN_FDS"}:
        return
    ends = time.monotonic() + _PORT_PATIENCE_SECONDS
    for host, port in (place for place in server.cfg.address if isinstance(place, tuple)):
        while fault := _fault_of(host, port):
            if time.monotonic() > ends:
                print(f"{host}:{port} cannot be opened: {fault}", file=sys.stderr)
                sys.exit(1)
            time.sleep(0.2)


def _fault_of(host: str, port: int) -> str:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "another program has this port. Stop it, or set another PORT in .env."
        return f"{error.strerror}. Set HOST and PORT in .env."
    return ""


def when_ready(server: Arbiter) -> None:
    """Keep the collector away from what is loaded, before any worker is forked.

    To visit it takes 130 ms, in the middle of some request, and copies pages that are shared.
    Nor is it looked through once before: next to nothing of it is garbage.
    """
    gc.freeze()
    gc.enable()


def post_worker_init(worker: Worker) -> None:
    """Have the worker end well by any signal.

    Each live stream would hold up the stop for its whole grace. Ctrl-C in a terminal reaches the
    workers twice, from the terminal and from their master: gunicorn's own handler, interrupted by
    itself, then waits for a lock that it holds. Here the master alone says when to stop.
    """
    from tokens.api.streams import closing

    def end(signum: int, frame: FrameType | None) -> None:
        for number in (signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        closing.set()
        worker.handle_exit(signum, frame)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGQUIT, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def post_fork(server: Arbiter, worker: Worker) -> None:
    """Have a worker die with its master (Linux): an orphan would hold the port for the grace."""
    die_with(worker.ppid)
