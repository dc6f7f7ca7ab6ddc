from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tokens", "0020_names_for_sql"),
    ]

    operations = [
        migrations.AddField(
            model_name="token",
            name="lease_number",
            field=models.PositiveIntegerField(default=0, db_default=0),
        ),
        migrations.AddField(
            model_name="imagegenerationjob",
            name="look_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="imagegenerationjob",
            name="looks",
            field=models.PositiveIntegerField(default=0, db_default=0),
        ),
    ]
