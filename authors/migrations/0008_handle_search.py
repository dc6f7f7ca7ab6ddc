from django.db import migrations, models
from django.db.models.functions import Lower

from glisk.database.index_operations import BuildIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("authors", "0007_prompt_is_public"),
    ]

    operations = [
        BuildIndex(
            model_name="author",
            index=models.Index(Lower("twitter_handle"), name="author_x_handle"),
        ),
        BuildIndex(
            model_name="author",
            index=models.Index(Lower("farcaster_handle"), name="author_farcaster_handle"),
        ),
    ]
