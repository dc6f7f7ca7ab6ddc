from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("reveals", "0003_operators_permissions")]

    operations = [
        migrations.AddField(
            model_name="revealbatch",
            name="settled_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        # What is old is deep enough; the drain looks at the rest.
        migrations.RunSQL(
            "UPDATE reveal_batches SET settled_at = closed_at "
            "WHERE closed_at < now() - interval '1 hour'",
            migrations.RunSQL.noop,
        ),
    ]
