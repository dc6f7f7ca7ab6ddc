from django.db import migrations, models

from glisk.database.index_operations import BuildIndex


class Migration(migrations.Migration):
    """Indexes that were once built with other changes in one transaction, under its locks."""

    atomic = False

    dependencies = [
        ("reveals", "0007_speed_up"),
    ]

    operations = [
        BuildIndex(
            model_name="revealbatch",
            index=models.Index(
                condition=models.Q(closed_at__isnull=False, settled_at=None),
                fields=["closed_at"],
                name="reveal_batch_unsettled",
            ),
        ),
        BuildIndex(
            model_name="revealtransaction",
            index=models.Index(
                condition=models.Q(("read_back_at", None), ("status", "confirmed")),
                fields=["id"],
                name="reveal_not_read_back",
            ),
        ),
        BuildIndex(
            model_name="marketplacerefresh",
            index=models.Index(
                condition=models.Q(("given_up", False), ("refreshed_at", None)),
                fields=["next_attempt_at", "token"],
                name="marketplace_due",
            ),
        ),
    ]
