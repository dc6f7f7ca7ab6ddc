"""A million tokens in the tables, and images by the thousand: bytes, pages, and the retention.

A web server and a database filled by benchmarks/big_database.py; no worker. The images are noise,
so that nothing compresses them.
"""

from __future__ import annotations

import argparse
import json

from benchmarks.admin_pages import Operator
from benchmarks.big_database import TOKENS, fill_world
from benchmarks.instruments import StatementLog
from benchmarks.report import Figure, Options, Result
from benchmarks.scene import WAL_BYTES, bare_world
from sandbox.world import WorldOptions

OPTIONS: Options = {
    "tokens": (TOKENS, "in the database"),
    "pictures": (20_000, "whose bytes are in the database"),
    "side": (320, "of each, in pixels: 100 kB"),
    "rounds": (7, "requests of a page"),
}
PAGES = {"dashboard": "/admin/", "metrics": "/metrics", "tokens": "/admin/tokens/token/"}
_SIZES = """
    SELECT relname, pg_table_size(oid) - coalesce(pg_relation_size(nullif(reltoastrelid, 0)), 0)
        AS rows, pg_indexes_size(oid) AS indexes,
        coalesce(pg_relation_size(nullif(reltoastrelid, 0)), 0) AS apart
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 2 + 3 DESC
"""
_IMAGES = "SELECT count(*), avg(length(data)) FROM token_images WHERE data IS NOT NULL"
_PURGE = """
import json, time
from django.conf import settings
from tokens.purging import purge_images
settings.IMAGE_RETENTION_DAYS = 0
began = time.monotonic()
print(json.dumps([purge_images(), time.monotonic() - began]))
"""


def run(options: argparse.Namespace) -> Result:
    """Fill a database, weigh it, look at pages, and let go of images."""
    figures: dict[str, Figure] = {}
    options_of_world = WorldOptions(workers=0, env={"METRICS_NETWORKS": "127.0.0.1/32"})
    with bare_world("big_tables", options_of_world) as world:
        fill_world(world, options.tokens, pictures=options.pictures, side=options.side)
        statements = StatementLog(world.directory / "postgres")
        statements.switch(on=False)
        sizes = statements.rows(_SIZES)
        operator = Operator(world, statements, options.rounds)
        for name, page in PAGES.items():
            if timing := operator.time(page):
                figures[f"{name}_ms"], figures[f"{name}_cpu_ms"] = timing.median_ms, timing.cpu_ms
        value = statements.value
        images, image_bytes = statements.session.execute(_IMAGES).fetchone() or (1, 0)
        statements.session.execute("CHECKPOINT")  # as if their bytes had come days ago
        before = value(WAL_BYTES)
        purged, seconds = json.loads(world.manage("shell", "--verbosity=0", "--command", _PURGE))
        wal = value(WAL_BYTES) - before
        statements.session.execute("VACUUM token_images")
        vacuum_wal = value(WAL_BYTES) - before - wal
        statements.close()
    apart = {each["relname"]: each["apart"] for each in sizes}
    weights = {each["relname"]: (each["rows"] + each["indexes"]) / options.tokens for each in sizes}
    total, indexes = sum(weights.values()), sum(each["indexes"] for each in sizes)
    most = sorted(weights.items(), key=lambda weight: -weight[1])[:6]
    return Result(
        figures
        | {
            "kb_per_token": total / 1000,
            "index_share": indexes / total / options.tokens,
            "image_kb": float(image_bytes) / 1000,
            "stored_kb_per_image": apart["token_images"] / images / 1000,
            "purged_per_s": purged / seconds,
            "purge_wal_kb_per_image": float(wal) / purged / 1000,
            "vacuum_wal_kb_per_image": float(vacuum_wal) / purged / 1000,
        },
        (
            f"{options.tokens:,} tokens, {images:,} with their image; {purged:,} of these let "
            f"go of in {seconds:.1f} s",
            "bytes a token: " + ", ".join(f"{name} {size:,.0f}" for name, size in most),
        ),
    )
