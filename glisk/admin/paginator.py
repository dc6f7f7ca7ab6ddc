"""Pages over tables too long to count.

With Django's own paginator a list of 2,000,000 uploads takes 500 ms of CPU, and the figure
`worst_median_ms` of the benchmark `admin_pages` must be 300 at most.
"""

import json

from django.core.paginator import Page, Paginator
from django.db import connections
from django.db.models import QuerySet
from django.utils.functional import cached_property

EXACT_LIMIT = 10_000


class EstimatingPaginator(Paginator):
    """Count exactly up to `EXACT_LIMIT` rows; beyond it take the planner's estimate.

    Counting a million rows costs a tenth of a second on each page view, and nobody reads the
    last digit. The estimate comes from the same statistics as PostgreSQL's plans. Nor does
    anybody turn to page 20,000, for which all rows before it would be read: the pages end where
    the exact count does, and a filter or a search leads further.
    """

    @cached_property
    def num_pages(self) -> int:
        """The pages that can be turned to."""
        return min(super().num_pages, max(1, EXACT_LIMIT // self.per_page))

    def page(self, number: int | str) -> Page:
        """Return a page; of the rows before it nothing is read but their keys."""
        found: Page = super().page(number)
        rows, all_rows = found.object_list, self.object_list
        if isinstance(rows, QuerySet) and isinstance(all_rows, QuerySet) and rows.query.low_mark:
            found.object_list = all_rows.filter(pk__in=rows.values("pk"))
        return found

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        # In the list's order: without one, each count reads another part of the table
        # (synchronize_seqscans), from the disk.
        exact = rows.values("pk")[: EXACT_LIMIT + 1].count()
        if exact <= EXACT_LIMIT:
            return exact
        return max(exact, estimated_count(rows.order_by().values("pk")))


def estimated_count(rows: QuerySet) -> int:
    """Return how many rows the planner expects; no row is read."""
    sql, parameters = rows.query.get_compiler(rows.db).as_sql()
    with connections[rows.db].cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
        plan = cursor.fetchone()[0]
    if isinstance(plan, str):
        plan = json.loads(plan)
    return int(plan[0]["Plan"]["Plan Rows"])
