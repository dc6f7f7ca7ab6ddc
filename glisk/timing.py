"""How long is waited for what: one object, into which tests inject shorter waits.

A wait that no test shortens stands where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Timing:
    """Waits in seconds, by what waits."""

    # Each wait after a failure is multiplied by this one.
    backoff: float = 1.0

    # Processes
    beat: float = 5.0  # a heartbeat; the longest that an idle drain sleeps
    gathering: float = 0.08  # what comes together is waited for so long
    rare_look: float = 0.25  # under load, rare work is looked for this often only
    pause_refresh: float = 1.0  # an operator's pause is read again
    body_silence: float = 15.0  # then a request's body is given up

    # Breakers
    breaker_refresh: float = 1.0  # what other processes did to a breaker is read again
    breaker_recheck: float = 5.0  # an operator may have closed one that had long to wait
    account_wait: float = 30.0  # after a refusal that is the account's
    probe_window: float = 20.0  # a probe that is lost blocks the next one
    vendor_wait: float = 1.0  # of a row, whose breaker decides when the next call is made

    # Generation
    poll: float = 0.3
    poll_with_callback: float = 2.0
    cancel_again: float = 5.0  # an overdue prediction that does not end
    # A call of unknown outcome may take so long to show up in the vendor's listing, from when it
    # was made, and from when its reply was lost: time-outs and gateways take half a minute.
    lookup_after: float = 15.0
    lookup_again: float = 2.0
    lookup_late_after: float = 300.0  # what is looked for longer is shown to operators
    # A paid call that was asked for this long ago is not made any more: the process was frozen,
    # and somebody else may have taken the token over.
    stale_call: float = 5.0
    cap_recheck: float = 30.0  # calls that the vendor refused after all make room again

    # Recovery
    first_retry: float = 4.0
    # A long history is read in pieces: in between, other tasks and a shutdown have their turn.
    look_budget: float = 60.0
    comparison_budget: float = 240.0  # of everything; a task may take a minute more
    clock_asked: float = 60.0  # the database's clock runs by ours in between
    clock_note: float = 60.0  # between two looks at how far a clock is off
    node_lag: float = 600.0  # what a node calls unrevealed so soon after a reveal proves nothing
    nudge: float = 1.0  # a look at the chain is asked for once in so long
    reorg_patience: float = 15.0  # on a chain that makes blocks only when there is need
    # A node's plan refills its budget every second, and may pay for less than one batch (Alchemy's
    # free plan: 500 units, an eth_call costs 26): what it refused is asked for again.
    node_budget: float = 1.0

    # The reveal
    # What the chain said is believed for so long: later, no nonce is reserved upon it, and before
    # bytes go out it is asked again. Nor are bytes sent so long after their claim: this process
    # has slept.
    facts_last: float = 30.0
    filling: float = 1.0  # a batch waits for tokens whose files are being checked just now
    gas_price_wait: float = 5.0
    no_funds_wait: float = 5.0
    unclear_wait: float = 5.0
    rebroadcast: float = 15.0  # what the node has taken, in case its pool dropped it
    review_again: float = 2.0  # a review that finds a mint missing
    believed_after: float = 60.0  # then it is believed
    receipt_poll: float = 0.4
    revert_wait: float = 5.0
    # So long must the chain show the nonce as spent, and none of our receipts, before we believe
    # that somebody else used the keeper: a lagging node shows the same for a moment.
    superseded_after: float = 20.0
    watch_poll: float = 2.0
    longest_watch_poll: float = 30.0
    recall_after: float = 4.0  # two of Base's blocks, in which a node finds its fork
    gap_after: float = 20.0  # so long must the chain miss a nonce

    # What operators are shown
    lookup_shown_after: float = 30.0  # a paid call without an answer
    webhook_late_after: float = 60.0  # a look at the chain may be faster by so much


timing = Timing()
