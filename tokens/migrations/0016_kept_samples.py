from django.db import migrations, models

from glisk.database.index_operations import BuildIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("tokens", "0015_minter_search"),
    ]

    operations = [
        BuildIndex(
            model_name="promptsample",
            index=models.Index(
                condition=models.Q(("data__isnull", False)),
                fields=["completed_at"],
                name="prompt_sample_kept",
            ),
        ),
    ]
