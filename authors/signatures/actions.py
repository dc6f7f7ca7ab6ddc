"""What an author may ask for by a signature, and in which words."""

from typing import Final

from django.db import models


class Action(models.TextChoices):
    UPDATE_PROMPT = "update_prompt", "Update prompt"
    LINK_X = "link_x", "Link X account"
    LINK_FARCASTER = "link_farcaster", "Link Farcaster account"


STATEMENTS: Final = {
    Action.UPDATE_PROMPT: "Update my GLISK prompt.",
    Action.LINK_X: "Link my X account to my GLISK wallet.",
    Action.LINK_FARCASTER: "Link my Farcaster account to my GLISK wallet.",
}
_LEGACY: Final = {
    Action.UPDATE_PROMPT: "Update GLISK prompt for wallet: ",
    Action.LINK_X: "Link X account for wallet: ",
    Action.LINK_FARCASTER: "Link Farcaster account for wallet: ",
}


def legacy_message(action: Action, wallet: str) -> str:
    """Return the fixed text that the frontend has signed for the action so far.

    It names wallet and action and nothing else: whoever sees the signature once can use it again
    (docs/adr/0008-signed-actions.md).
    """
    return _LEGACY[action] + wallet
