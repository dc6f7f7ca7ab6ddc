"""What every admin table of ours has in common."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.utils import lookup_field, unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db import connections
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from glisk.admin.formatting import NOTHING
from glisk.fields import is_hash, parse_wallet

EXACT_LIMIT = 10_000
_CID_LENGTHS = range(46, 101)
_MAX_ID = 2**63 - 1
# An empty cell, which a phone leaves out.
_NOTHING = format_html('<span class="glisk-nothing">{}</span>', NOTHING)


def column(description: str, show: Callable[[Any], Any], **options: Any) -> Any:
    """Make a column of an admin by what it shows of a row; `options` are those of `@display`."""

    @display(description=description, **options)
    def shown(_admin: Any, row: Any) -> Any:
        value = show(row)
        return _NOTHING if value == NOTHING else value

    return shown


def folded(title: str, *fields: str) -> tuple[str, dict[str, Any]]:
    """Make a group of fields that is closed until somebody opens it."""
    return title, {"classes": ["collapse"], "fields": fields}


def shows_list(request: HttpRequest) -> bool:
    """Say whether this is the list and not one object's page."""
    match = request.resolver_match
    return match is not None and str(match.url_name).endswith("_changelist")


class EstimatingPaginator(Paginator):
    """Count exactly up to `EXACT_LIMIT` rows; beyond it take the planner's estimate.

    With Django's own a list of 2,000,000 uploads takes 500 ms of CPU, and the figure
    `worst_median_ms` of the benchmark `admin_pages` must be 300 at most. Nobody turns to page
    20,000, for which all rows before it would be read: the pages end where the exact count does,
    and a filter or a search leads further.
    """

    object_list: QuerySet[Any]

    @cached_property
    def num_pages(self) -> int:
        """The pages that can be turned to."""
        return min(super().num_pages, max(1, EXACT_LIMIT // self.per_page))

    def page(self, number: int | str) -> Page:
        """Return a page; of the rows before it nothing is read but their keys."""
        found: Page = super().page(number)
        rows: Any = found.object_list
        if rows.query.low_mark:
            found.object_list = self.object_list.filter(pk__in=rows.values("pk"))
        return found

    @cached_property
    def count(self) -> int:
        rows = self.object_list
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
    return int(plan[0]["Plan"]["Plan Rows"])


class PlainChangeList(ChangeList):
    """A list that says "n results (show all)" only where a filter hides some.

    It is sorted by the columns that are offered for that, also when the address names others.
    """

    result_list: Any  # the rows of the page

    def get_ordering_field(self, field_name: Callable[..., Any] | str) -> Any:
        offered = self.sortable_by or ()
        return super().get_ordering_field(field_name) if field_name in offered else None

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.query and not self.has_active_filters:
            self.full_result_count = self.result_count


class Audited:
    """A table of which the audit page has each object's history."""

    opts: Any

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        about = urlencode({"about": f"{self.opts.label_lower}:{unquote(object_id)}"})
        return HttpResponseRedirect(f"{reverse('admin-audit')}?{about}")


class LargeTableAdmin(Audited, ModelAdmin):
    """A table whose pages cost the same at a hundred rows as at a million.

    `sortable_by` of a long table names the columns whose order an index has.
    """

    # One sentence for a list that is empty: what will stand in it, and when.
    when_empty = ""
    empty_value_display = _NOTHING
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = EstimatingPaginator
    list_per_page = 50
    list_max_show_all = 0
    list_fullwidth = True
    compressed_fields = True
    warn_unsaved_form = False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return PlainChangeList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Refuse what only looks like a list without an effect: actions nobody offered."""
        if request.method == "POST" and not self.get_actions(request):
            raise PermissionDenied
        page: HttpResponse = super().changelist_view(request, extra_context)
        return page


def _never(self: Any, request: HttpRequest, obj: Any = None) -> bool:
    return False


class Unwritten:
    """Rows that nobody adds, changes or deletes by hand."""

    has_add_permission = has_change_permission = has_delete_permission = _never


class MachineAdmin(Unwritten, LargeTableAdmin):
    """A table that the machine writes; people look at it."""

    actions: Sequence[Any] | None = None

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave out the fields in which nothing stands, and the groups of which nothing is left."""
        groups = super().get_fieldsets(request, obj)
        filled = [
            (title, {**options, "fields": [f for f in options["fields"] if self._says(f, obj)]})
            for title, options in groups
        ]
        return [(title, options) for title, options in filled if options["fields"]]

    def _says(self, field: Any, row: Any) -> bool:
        value = lookup_field(field, row, self)[2] if row is not None else None
        return not (value is None or value is False or value in ("", NOTHING, _NOTHING, [], {}))


class MachineInline(Unwritten, TabularInline):
    """Rows of the machine below the object that they belong to."""

    template = "admin/machine_inline.html"
    extra = 0
    can_delete = False
    hide_title = True
    tab = True


class ExactSearch(LargeTableAdmin):
    """Search by what the text is: a number, a wallet, a transaction hash or a CID.

    Each kind is compared for equality with its own columns, so that an index answers;
    `LIKE '%…%'` over every column reads the whole table.
    """

    search_ids: tuple[str, ...] = ()
    search_wallets: tuple[str, ...] = ()
    search_hashes: tuple[str, ...] = ()
    search_cids: tuple[str, ...] = ()
    search_texts: tuple[str, ...] = ()

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        """Say that there is a search; the columns are chosen per term."""
        return [column for columns, _ in self._columns_by_value("") for column in columns]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        wanted = self.search_conditions(term)
        return (queryset.filter(wanted) if wanted else queryset.none()), False

    def search_conditions(self, term: str) -> Q:
        """Return what finds the term; an empty condition if it can be nothing of ours."""
        wanted = Q()
        for columns, value in self._columns_by_value(term):
            for column in columns if value is not None else ():
                wanted |= Q(**{column: value})
        return wanted

    def _columns_by_value(self, term: str) -> list[tuple[tuple[str, ...], Any]]:
        return [
            (self.search_ids, as_id(term)),
            (self.search_wallets, parse_wallet(term)),
            (self.search_hashes, as_hash(term)),
            (self.search_cids, as_cid(term)),
            (self.search_texts, None if "\x00" in term else term),
        ]


def as_id(term: str) -> int | None:
    """Return the number that somebody searches for, with or without #."""
    number = term.removeprefix("#")
    # Python reads no number of thousands of digits, and a column holds none of twenty.
    if not (number.isascii() and number.isdecimal() and len(number) <= len(str(_MAX_ID))):
        return None
    return int(number) if int(number) <= _MAX_ID else None


def as_hash(term: str) -> str | None:
    """Return the 32-byte hash that somebody searches for, in lower case."""
    return term.lower() if is_hash(term) else None


def as_cid(term: str) -> str | None:
    """Return the CID that somebody searches for, with or without `ipfs://`."""
    cid = term.removeprefix("ipfs://")
    is_cid = len(cid) in _CID_LENGTHS and cid.isascii() and cid.isalnum()
    return cid if is_cid else None
