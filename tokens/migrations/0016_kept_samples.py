from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("tokens", "0015_minter_search"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="promptsample",
            index=models.Index(
                condition=models.Q(("data__isnull", False)),
                fields=["completed_at"],
                name="prompt_sample_kept",
            ),
        ),
    ]
