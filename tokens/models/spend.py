"""The ledger's closed days: sums that never change any more."""

from django.db import models


class DailySpend(models.Model):
    """What one model at one service has cost on one UTC day (tokens/pipeline/spend.py)."""

    day = models.DateField()
    service = models.CharField(max_length=20)
    model = models.CharField(max_length=200)
    predictions = models.PositiveIntegerField()
    cost_usd = models.DecimalField(max_digits=14, decimal_places=6)

    class Meta:
        db_table = "daily_spend"
        constraints = [
            models.UniqueConstraint(fields=["day", "service", "model"], name="daily_spend_once")
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.service} {self.model}"
