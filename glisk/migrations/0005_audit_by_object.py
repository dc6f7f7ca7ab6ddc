from django.db import migrations

# An object's history page asks for its own entries; Django's table has no index for that.
_CREATE = (
    "CREATE INDEX admin_log_object ON django_admin_log (content_type_id, object_id, action_time)"
)


class Migration(migrations.Migration):
    dependencies = [
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("glisk", "0004_operator_actions"),
    ]

    operations = [migrations.RunSQL(_CREATE, "DROP INDEX admin_log_object")]
