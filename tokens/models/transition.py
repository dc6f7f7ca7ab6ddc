"""The timeline: one row for every move of a token, and for what happened in between."""

from django.db import models

from tokens.models.token import Token
from tokens.states import TokenStatus


class TokenTransition(models.Model):
    # By its number, without a constraint: books are kept of tokens that a reorg took away too.
    token = models.ForeignKey(
        Token, on_delete=models.DO_NOTHING, db_constraint=False, related_name="transitions"
    )
    from_status = models.CharField(max_length=20, choices=TokenStatus.choices, blank=True)
    to_status = models.CharField(max_length=20, choices=TokenStatus.choices)
    reason = models.TextField(blank=True, default="")
    attempt = models.PositiveIntegerField(default=0)
    actor = models.CharField(max_length=200)
    detail = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "token_transitions"
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.from_status or 'new'} to {self.to_status}"
