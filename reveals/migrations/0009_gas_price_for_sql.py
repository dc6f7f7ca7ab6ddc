import django.db.models.expressions
from decimal import Decimal
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("reveals", "0008_indexes_of_their_own"),
    ]

    operations = [
        migrations.AddField(
            model_name="revealtransaction",
            name="gas_price_gwei",
            field=models.GeneratedField(
                db_persist=True,
                expression=django.db.models.expressions.CombinedExpression(
                    models.F("effective_gas_price_wei"), "/", models.Value(Decimal(1000000000))
                ),
                output_field=models.DecimalField(decimal_places=9, max_digits=30, null=True),
            ),
        ),
    ]
