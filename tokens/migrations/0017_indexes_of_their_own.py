from django.db import migrations, models

from glisk.database.index_operations import BuildIndex


class Migration(migrations.Migration):
    """Indexes that were once built with other changes in one transaction, under its locks."""

    atomic = False

    dependencies = [
        ("tokens", "0016_kept_samples"),
    ]

    operations = [
        BuildIndex(
            model_name="mintevent",
            index=models.Index(
                condition=models.Q(("settled_at__isnull", True)),
                fields=["block_number"],
                name="mint_event_unsettled",
            ),
        ),
        BuildIndex(
            model_name="token",
            index=models.Index(
                condition=models.Q(("held_at__isnull", False)),
                fields=["held_at"],
                name="token_held",
            ),
        ),
        BuildIndex(
            model_name="imagegenerationjob",
            index=models.Index(
                condition=models.Q(("cost_usd__isnull", False)),
                fields=["created_at"],
                include=("service", "model", "cost_usd"),
                name="generation_job_spend",
            ),
        ),
    ]
