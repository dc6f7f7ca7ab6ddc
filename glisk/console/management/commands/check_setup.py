"""Asks the vendors and the chain whether the settings are right."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.checks import WARNING
from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError

from glisk.clients.chain import ChainClient
from glisk.clients.ipfs import GatewayClient, PinataClient
from glisk.clients.replicate import ReplicateClient
from glisk.clients.selfhosted import SelfhostedClient
from glisk.clients.signers.kms import KmsSigner
from glisk.clock import database_clock, database_now
from glisk.config.checks import check_deployment
from glisk.console.advice import explain_refusal
from glisk.console.alerts.targets import not_understood, targets
from glisk.engine.heartbeat import ClockSkew, machine_skew
from glisk.errors import ProviderError
from glisk.management.base import ExplainedCommand, counted, explain_database_error
from reveals.keeper import LOW, OK, keeper_address, look_at_keeper
from tokens.models import Token

NOT_WELL = 2
_METADATA_MAX_BYTES = 100_000


class Command(ExplainedCommand):
    help = (
        "Asks the chain about network, contract and keeper, and the vendors about their keys. "
        "Nothing is paid for, pinned or sent."
    )
    examples = """\
examples:
  manage.py check_setup        (before the first start, and after a key was changed)

What needs no answer from outside is told at every start, and by `manage.py check --deploy`.

exit status: 0 all is well, 1 the options make no sense, 2 something is not, and the line says what
to do about it.
"""

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = 0
        for subject, ask in QUESTIONS.items():  # one that fails hides no other
            is_well, text = answer(ask)
            lines = text.replace("\n", f"\n{'':19}")
            self.stdout.write(f"{'ok' if is_well else 'WRONG':<6} {subject:<11} {lines}")
            wrong += not is_well
        if wrong:
            raise CommandError(f"{wrong} of these must be mended; see above.", returncode=NOT_WELL)


class NotWellError(Exception):
    """Somebody answered, and it is not what it has to be; the text says what to do."""


def answer(ask: Callable[[], str]) -> tuple[bool, str]:
    """Return whether it is well, and the facts or what to do."""
    try:
        return True, ask()
    except NotWellError as error:
        return False, str(error)
    except ProviderError as error:
        return False, explain_refusal(error.vendor, error)
    except (DatabaseError, InterfaceError) as error:
        if (sentence := explain_database_error(error)) is None:
            raise
        return False, sentence


def _settings() -> str:
    """Tell what `check --deploy` finds of ours; what is senseless has ended the start already."""
    found = [message for message in check_deployment(None) if message.level >= WARNING]
    if found:
        raise NotWellError("\n".join(f"{message.msg} {message.hint}" for message in found))
    return "fit together"


def _chain() -> str:
    survey = ChainClient.from_settings().survey()
    given_out = counted(survey.next_token_id - 1, "token")
    return (
        f"{settings.NETWORK}, block {survey.head.number:,}; the contract has given out {given_out}"
    )


def _logs() -> str:
    """Ask for logs, which many a node refuses that answers everything else."""
    reader = ChainClient.from_settings()
    head = reader.survey().head.number
    try:
        reader.logs(first=head, last=head)
    except ProviderError as error:
        raise NotWellError(
            f"{error} Without logs tokens are taken from the contract alone, without their "
            "transaction: choose a node that answers eth_getLogs."
        ) from error
    return "the node gives them"


def _keeper() -> str:
    address = keeper_address()
    if not address:
        return "not on this machine: set KEEPER_ADDRESS to have its role and its funds looked at"
    seen = look_at_keeper(ChainClient.from_settings(), address=address)
    if seen.unreachable:
        raise NotWellError(seen.unreachable)
    if seen.status == LOW:
        return seen.reason
    if seen.status != OK:
        raise NotWellError(seen.reason)
    return f"{seen.address} may reveal, and pays for about {counted(seen.reveals_left, 'reveal')}"


def _keeper_key() -> str:
    """Tell whether this process, which signs nothing, could read the keeper's private key.

    A key in KMS is read by nobody; is it the keeper's?
    """
    if settings.KEEPER_KMS_KEY_ID:
        return _kms_key()
    if not settings.KEEPER_KEY_IN_REACH:
        return "only the worker can read it"
    if not settings.IS_REAL_NETWORK:
        return "this process could read it, too; on a real network only the worker may"
    raise NotWellError(
        "This process could read the keeper's private key, and it signs nothing. Give the key as "
        "KEEPER_PRIVATE_KEY_FILE, a file that only the worker's user can read, and leave "
        "KEEPER_PRIVATE_KEY empty."
    )


def _kms_key() -> str:
    address = KmsSigner(settings.KEEPER_KMS_KEY_ID, address="").fetch_address()
    if address != settings.KEEPER_ADDRESS:
        raise NotWellError(f"The address of the KMS key is {address}: set KEEPER_ADDRESS to it.")
    return f"AWS KMS has it, and its address is {address}"


def _replicate() -> str:
    ReplicateClient().probe()
    return "the token is accepted"


def _listing() -> str:
    """Ask for what lost replies are looked up in; a key may be refused just this."""
    try:
        next(ReplicateClient().prediction_pages(created_after=database_now()))
    except ProviderError as error:
        raise NotWellError(explain_refusal("replicate_listing", error)) from error
    return "predictions can be listed: lost replies are found again"


def _clocks() -> str:
    replicate = ReplicateClient()
    with suppress(ProviderError):  # a refusal tells the time as well
        replicate.probe()
    skews = [machine_skew()]
    if replicate.clock is not None:
        skews.append(ClockSkew("Replicate", replicate.clock.ahead_of(database_clock())))
    told = "; ".join(str(skew) for skew in skews)
    if not all(skew.is_tolerable for skew in skews):
        raise NotWellError(f"{told}. Have the machines' clocks set by NTP.")
    return told


def _callbacks() -> str:
    """Compare the signing key with the account's: with another one every callback is refused."""
    if not settings.PUBLIC_BASE_URL or not settings.REPLICATE_WEBHOOK_SECRETS:
        return "not set up: predictions are asked for"
    if ReplicateClient().fetch_webhook_secret() in settings.REPLICATE_WEBHOOK_SECRETS:
        return f"Replicate signs what it sends to {settings.PUBLIC_BASE_URL} with our key"
    raise NotWellError(
        "Replicate signs with another key than REPLICATE_WEBHOOK_SECRET: take the one of the "
        "account (its webhook settings) and restart web."
    )


def _selfhosted() -> str:
    if not settings.SELFHOSTED_IMAGE_API_URL:
        return "not set up"
    return f"the server says {SelfhostedClient().health()}"


def _pinata() -> str:
    PinataClient().probe()
    return "the key may pin files"


def _gateway() -> str:
    stored = Token.objects.filter(metadata_cid__isnull=False, adopted_uri__isnull=True)
    cid = stored.order_by("-token_id").values_list("metadata_cid", flat=True).first()
    if cid is None:
        return "nothing is stored yet that could be fetched"
    GatewayClient().fetch_verified(cid, max_bytes=_METADATA_MAX_BYTES)
    return f"serves {cid}"


def _alerts() -> str:
    """Ask apprise whether it understands the targets; nothing is sent."""
    if faulty := not_understood():
        raise NotWellError(
            f"{', '.join(faulty)}: apprise does not understand this. Its forms: "
            "https://github.com/caronc/apprise/wiki."
        )
    if not targets():
        return "not set up: nobody is told what goes wrong (ALERT_URLS)"
    names = ", ".join(target.label for target in targets())
    return f"{names}; manage.py send_test_alert tries them"


QUESTIONS: dict[str, Callable[[], str]] = {
    "settings": _settings,
    "chain": _chain,
    "logs": _logs,
    "keeper": _keeper,
    "keeper_key": _keeper_key,
    "replicate": _replicate,
    "listing": _listing,
    "clocks": _clocks,
    "callbacks": _callbacks,
    "selfhosted": _selfhosted,
    "pinata": _pinata,
    "gateway": _gateway,
    "alerts": _alerts,
}
