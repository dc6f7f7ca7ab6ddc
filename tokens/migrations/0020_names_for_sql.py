from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tokens", "0019_failed_due"),
    ]

    operations = [
        migrations.AddField(
            model_name="imagegenerationjob",
            name="prompt_text",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.ExpressionWrapper(
                    models.F("prompt"), output_field=models.TextField()
                ),
                output_field=models.TextField(),
            ),
        ),
        migrations.AddField(
            model_name="ipfsuploadrecord",
            name="ipfs_cid",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.ExpressionWrapper(
                    models.F("computed_cid"), output_field=models.CharField(max_length=100)
                ),
                output_field=models.CharField(max_length=100),
            ),
        ),
        migrations.AddField(
            model_name="mintevent",
            name="author",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.ExpressionWrapper(
                    models.F("prompt_author"), output_field=models.CharField(max_length=42)
                ),
                output_field=models.CharField(max_length=42),
            ),
        ),
    ]
