from django.db import migrations, models

from glisk.database.index_operations import BuildIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("tokens", "0018_automatic_retries"),
    ]

    operations = [
        BuildIndex(
            model_name="token",
            index=models.Index(
                condition=models.Q(("next_attempt_at__isnull", False), ("status", "failed")),
                fields=["next_attempt_at"],
                name="token_failed_due",
            ),
        ),
    ]
