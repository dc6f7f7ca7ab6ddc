from django.db import migrations, models

from glisk.database.index_operations import BuildIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("tokens", "0023_proper_names"),
    ]

    operations = [
        BuildIndex(
            model_name="tokentransition",
            index=models.Index(
                condition=models.Q(
                    ("actor__startswith", "operator "),
                    (
                        "actor__in",
                        ["repair_tokens", "retry_failed", "reveal_tokens", "reconcile_reveals"],
                    ),
                    _connector="OR",
                ),
                fields=["-created_at"],
                name="transition_by_people",
            ),
        ),
        # Names for people only.
        migrations.AlterModelOptions(
            name="ipfsuploadrecord", options={"verbose_name": "IPFS upload"}
        ),
        migrations.AlterField(
            model_name="imagegenerationjob",
            name="cost_usd",
            field=models.DecimalField(
                "cost (USD)", blank=True, decimal_places=6, max_digits=10, null=True
            ),
        ),
        migrations.AlterField(
            model_name="promptsample",
            name="cost_usd",
            field=models.DecimalField(
                "cost (USD)", blank=True, decimal_places=6, max_digits=10, null=True
            ),
        ),
    ]
