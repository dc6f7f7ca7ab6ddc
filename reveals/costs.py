"""What reveals cost lately."""

from dataclasses import dataclass

from django.db import connection

_MEASURED_OVER = 20  # transactions


@dataclass(frozen=True)
class RevealCosts:
    """What the last reveals took per token; None before the first one.

    `l1_is_measured`: their receipts told the L1 data fee.
    """

    transactions: int
    tokens: int
    gas_per_token: int | None
    wei_per_token: int | None
    l1_is_measured: bool


def reveal_costs() -> RevealCosts:
    """Return the costs of the newest confirmed reveals, L1 data fee included; one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*), COALESCE(sum(tokens), 0), sum(gas_used) / NULLIF(sum(tokens), 0),
                   sum(gas_used * effective_gas_price_wei + COALESCE(l1_fee_wei, 0))
                   / NULLIF(sum(tokens), 0),
                   count(l1_fee_wei)
            FROM (
                SELECT gas_used, effective_gas_price_wei, l1_fee_wei,
                       cardinality(token_ids) AS tokens
                FROM reveal_transactions
                WHERE status = 'confirmed' AND gas_used IS NOT NULL
                ORDER BY signed_at DESC LIMIT %s
            ) AS newest
            """,
            [_MEASURED_OVER],
        )
        number, tokens, gas, wei, l1_fees = cursor.fetchone()
    return RevealCosts(
        transactions=number,
        tokens=int(tokens),
        gas_per_token=None if gas is None else int(gas),
        wei_per_token=None if wei is None else int(wei),
        l1_is_measured=l1_fees > 0,
    )
