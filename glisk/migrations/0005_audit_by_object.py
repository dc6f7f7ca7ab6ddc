from django.db import migrations

# An object's history page asks for its own entries; Django's table has no index for that.
_CREATE = (
    "DROP INDEX CONCURRENTLY IF EXISTS admin_log_object",  # of a build that failed
    "SET lock_timeout = 0",  # it waits for every open transaction
    "CREATE INDEX CONCURRENTLY admin_log_object "
    "ON django_admin_log (content_type_id, object_id, action_time)",
    "RESET lock_timeout",
)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("glisk", "0004_operator_actions"),
    ]

    operations = [migrations.RunSQL(_CREATE, "DROP INDEX CONCURRENTLY admin_log_object")]
