from django.db import migrations, models

from glisk.database.index_operations import BuildIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("tokens", "0021_lease_numbers_and_looks"),
    ]

    operations = [
        BuildIndex(
            model_name="imagegenerationjob",
            index=models.Index(
                condition=models.Q(("status__in", ["created", "submitted"])),
                fields=["look_at"],
                name="generation_job_look",
            ),
        ),
    ]
