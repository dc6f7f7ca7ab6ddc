from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tokens", "0017_indexes_of_their_own"),
    ]

    operations = [
        migrations.AddField(
            model_name="token",
            name="automatic_retries",
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
    ]
