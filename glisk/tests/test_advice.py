"""Operators are told what to do, and the runbook knows every word of it."""

from dataclasses import replace
from pathlib import Path

from glisk.breaker import BreakerState
from glisk.console.advice import advice_for_breaker
from tokens.admin.summary import ADVICE, advice_for_class, advice_for_waiting

RUNBOOK = Path(__file__).resolve().parents[2] / "docs" / "runbook.md"


def test_a_breaker_comes_with_advice() -> None:
    for breaker, reason, advice in (
        ("pinata", "did not reach the vendor", "status page"),
        ("chain", "The keeper 0x1 has 0.000000 ETH, and the next reveal may cost", "ETH"),
        ("chain", "The keeper 0x1 has no KEEPER_ROLE", "grant KEEPER_ROLE"),
        ("chain", "The chain asks for 3 gwei per gas", "REVEAL_MAX_GAS_PRICE_GWEI"),
        ("chain", "connection refused", "RPC_URL"),
        ("rpc", "chain: there is no contract at 0x1 (yet)", "must belong together"),
        ("rpc", "chain: the node is on chain 1, but NETWORK means 2", "must belong together"),
        ("rpc", "connection refused", "Is the node of RPC_URL up?"),
    ):
        assert advice in advice_for_breaker(breaker, BreakerState(reason=reason))
    assert advice_for_breaker("odd", BreakerState(reason="anything")) == ""


def test_no_word_of_ours_decides_an_advice() -> None:
    """The address that was asked speaks of everything."""
    hint = "POST /v1/models/plan/credit-402/scopes answered: its scopes, the credit, 401."
    for name in ("replicate", "pinata"):
        refusal = BreakerState(status=500, code="500", reason=hint)
        plain = advice_for_breaker(name, replace(refusal, said="Internal server error"))
        assert plain == advice_for_breaker(name, refusal)
        assert "status page" in plain


def test_a_token_that_waits_at_the_gate_has_not_failed() -> None:
    assert "gateway" in advice_for_waiting("artefact")
    assert "three times" in advice_for_class("artefact")
    assert advice_for_waiting("unconfirmed") == advice_for_class("unconfirmed")


def test_the_runbook_names_every_class_and_variable() -> None:
    runbook = RUNBOOK.read_text(encoding="utf-8")
    for name in ADVICE:
        assert f"`{name}`" in runbook, name
    assert advice_for_class("nobody knows") == ""
