from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tokens", "0002_token_waiting"),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="token", name="token_revealed_has_transaction"),
        migrations.AddConstraint(
            model_name="token",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("reveal_tx_hash__isnull", False),
                        ("reveal_tx_hash__regex", "^0x[0-9a-f]{64}$"),
                        ("status", "revealed"),
                    ),
                    models.Q(
                        models.Q(("status", "revealed"), _negated=True),
                        ("reveal_tx_hash__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="token_revealed_has_transaction",
            ),
        ),
    ]
