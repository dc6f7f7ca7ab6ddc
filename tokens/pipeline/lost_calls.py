"""Look for paid calls whose reply was lost in Replicate's listing. No database in here.

Every input holds a seed of its own, so an equal input is the same call. What was made within ten
minutes of the call may be it. These are the vendor's times: where its Date header shows another
time than the database's clock, the window reaches over both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from glisk.clients.replicate import Prediction, ReplicateClient
from glisk.clock import ClockReading
from glisk.errors import ProviderError, TransientError
from tokens.pipeline.calls import get_many
from tokens.pipeline.jobs import is_our_input

WINDOW: Final = timedelta(minutes=10)
# Of 100 predictions: more than the vendor lets anybody make (600 a minute) within a window.
MAX_PAGES = 150


@dataclass(frozen=True)
class LostCall:
    """A call that may have been accepted; `made_at` is the database's time."""

    job_id: int
    input: dict[str, Any]
    made_at: datetime


@dataclass(frozen=True)
class Finding:
    """What is known of a call; nothing at all means that it surely never arrived.

    `unreadable` is the id of a prediction that may be it, and whose input is gone;
    `open_because` says why nothing may be concluded yet.
    """

    prediction: Prediction | None = None
    unreadable: str = ""
    open_because: str = ""


def perhaps_paid(prediction_id: str) -> TransientError:
    """Return why the price of a call stands that is not in the listing."""
    return TransientError(
        f"replicate: the reply was lost, and prediction {prediction_id} of that time may be it: "
        "Replicate has deleted its input. The price stands.",
        vendor="replicate",
        code="perhaps_paid",
    )


def find_lost(
    client: ReplicateClient,
    *,
    wanted: Sequence[LostCall],
    known_ids: Collection[str],
    database: ClockReading,
) -> dict[int, Finding]:
    """Return a finding for each call; made within minutes of each other, one listing serves all.

    `known_ids` are the predictions of other calls of ours. Raises if the listing is refused.
    """
    look = _Look(client, wanted, known_ids, database)
    is_complete = look.read_listing()
    unread = look.read_strangers()  # whatever the listing left out, it may be among these
    found = {job_id: Finding(prediction=match) for job_id, match in look.found.items()}
    for call in look.missing:
        unreadable = next((p.id for p in look.strangers.values() if look.is_near(p, call)), "")
        if not is_complete:
            why = f"Replicate's listing shows more than {look.seen:,} predictions since."
            found[call.job_id] = Finding(open_because=why)
        elif unread:
            found[call.job_id] = Finding(open_because=unread)
        else:
            found[call.job_id] = Finding(unreadable=unreadable)
    return found


class _Look:
    """One look at the listing: what was found, what is missing, what may be it."""

    def __init__(
        self,
        client: ReplicateClient,
        wanted: Sequence[LostCall],
        known_ids: Collection[str],
        database: ClockReading,
    ) -> None:
        self.client = client
        self.missing = list(wanted)
        self.known_ids = known_ids
        self.database = database
        self.found: dict[int, Prediction] = {}
        self.strangers: dict[str, Prediction] = {}  # of the time, and without their input
        self.seen = 0

    def read_listing(self) -> bool:
        """Page back until all are found; return whether nothing of the window was left out.

        The bound spares the pages of what came later. It is trusted only if the listing goes on
        behind the window: a vendor who misunderstands it might show nothing at all.
        """
        newest = self.client.prediction_pages()
        first = next(newest, [])
        if self._is_enough(first):
            return True
        end = self._window(self.missing)[1]
        if first and all(p.created_at is not None and p.created_at > end for p in first):
            bounded = self.client.prediction_pages(created_before=end)
            if self._read(bounded):
                return True
            if next(bounded, None) is not None:
                return False
        return self._read(newest) or next(newest, None) is None

    def _read(self, pages: Iterator[list[Prediction]]) -> bool:
        return any(self._is_enough(page) for page in islice(pages, MAX_PAGES))

    def _is_enough(self, page: list[Prediction]) -> bool:
        """Take a page in; tell whether all are found, or older pages are of no interest."""
        self.seen += len(page)
        start, end = self._window(self.missing)
        for prediction in page:
            made = prediction.created_at
            if prediction.id not in self.known_ids and (made is None or start <= made <= end):
                self._take(prediction)
        oldest = page[-1].created_at if page else None
        return not self.missing or (oldest is not None and oldest < start)

    def _take(self, prediction: Prediction) -> None:
        if not prediction.input:
            self.strangers[prediction.id] = prediction
            return
        self.strangers.pop(prediction.id, None)
        for call in self.missing:
            if is_our_input(prediction.input, call.input):
                self.found[call.job_id] = prediction
                self.missing.remove(call)
                return

    def read_strangers(self) -> str:
        """Read those by their ids whose input the listing left out; return why one is unread.

        What stays among the strangers then has lost its input for good.
        """
        hidden = [p.id for p in self.strangers.values() if not p.data_removed]
        if not self.missing:
            return ""
        try:
            read = get_many(self.client, hidden)
        except ProviderError as error:
            return f"A prediction of that time cannot be read now: {error}"
        for prediction in read:
            if prediction.input:
                self._take(prediction)
        unread = len(hidden) - len(read)
        return f"{unread} predictions of that time cannot be read now." if unread else ""

    def is_near(self, prediction: Prediction, call: LostCall) -> bool:
        start, end = self._window([call])
        return prediction.created_at is None or start <= prediction.created_at <= end

    def _window(self, calls: Sequence[LostCall]) -> tuple[datetime, datetime]:
        clock = self.client.clock
        ahead = timedelta(seconds=clock.ahead_of(self.database) if clock else 0.0)
        first, last = min(c.made_at for c in calls), max(c.made_at for c in calls)
        return min(first, first + ahead) - WINDOW, max(last, last + ahead) + WINDOW
