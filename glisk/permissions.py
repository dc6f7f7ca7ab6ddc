"""The permissions of what operators do, by name; the models declare them, the roles hold them.

Every action checks one of these: in the admin by Django's `has_perm`, in the operations API by the
view's `permission` (glisk.api.views), both with the names below.
"""

from __future__ import annotations

from typing import Any, Final

RETRY_TOKEN: Final = "tokens.retry_token"
REGENERATE_TOKEN: Final = "tokens.regenerate_token"
HOLD_TOKEN: Final = "tokens.hold_token"
FAIL_TOKEN: Final = "tokens.fail_token"
RECHECK_TOKEN: Final = "tokens.recheck_token"
REVEAL_NOW: Final = "reveals.reveal_now"
SPEED_UP: Final = "reveals.speed_up"
RECONCILE: Final = "reveals.reconcile"
REPLAY_EVENT: Final = "webhooks.replay_event"
PAUSE_STAGE: Final = "glisk.pause_stage"
RESET_BREAKER: Final = "glisk.reset_breaker"
RUN_RECOVERY: Final = "glisk.run_recovery"
CHECK_DRIFT: Final = "glisk.check_drift"
IMPORT_AUTHOR: Final = "authors.import_author"
EXPORT_AUTHOR: Final = "authors.export_author"
TRY_PROMPT: Final = "authors.try_prompt"

ACTIONS: Final[dict[str, str]] = {
    RETRY_TOKEN: "Can have failed tokens tried again",
    REGENERATE_TOKEN: "Can have a new image paid for",
    HOLD_TOKEN: "Can hold tokens back and release them",
    FAIL_TOKEN: "Can give tokens up",
    RECHECK_TOKEN: "Can compare tokens with the chain",
    REVEAL_NOW: "Can have ready tokens revealed at once",
    SPEED_UP: "Can replace a reveal with a dearer one",
    RECONCILE: "Can reconcile reveals with the chain",
    REPLAY_EVENT: "Can have webhook events processed again",
    PAUSE_STAGE: "Can pause and resume a stage",
    RESET_BREAKER: "Can close a breaker",
    RUN_RECOVERY: "Can run the recovery from the chain",
    CHECK_DRIFT: "Can compare everything with the chain",
    IMPORT_AUTHOR: "Can import authors",
    EXPORT_AUTHOR: "Can export authors",
    TRY_PROMPT: "Can pay for a sample of a prompt",
}


def declared(app_label: str) -> Any:
    """Return an app's actions in the form of `Meta.permissions`."""
    found = ((*name.split("."), text) for name, text in ACTIONS.items())
    return [(codename, text) for app, codename, text in found if app == app_label]


def may_act(user: Any) -> bool:
    """Say whether a user may do more than look: spend, reveal, repair, or hand out logins."""
    return user.is_superuser or any(
        not name.partition(".")[2].startswith("view_") for name in user.get_all_permissions()
    )
