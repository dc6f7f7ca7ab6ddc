"""Build indexes in migrations without blocking writes, and so that a second try succeeds."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ProjectState


class BuildIndex(AddIndexConcurrently):
    """Django's operation, whatever an earlier run has left; needs `atomic = False`.

    An index that stands is kept: databases have it that were migrated when it was built under a
    lock. One that a failed build left is of no use (PostgreSQL calls it invalid): it is built anew.
    """

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        name = schema_editor.quote_name(self.index.name)
        if not schema_editor.collect_sql:
            query = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
            with schema_editor.connection.cursor() as cursor:
                cursor.execute(query, [name])
                found = cursor.fetchone()
            if found == (True,):
                return
            if found:
                schema_editor.execute(f"DROP INDEX CONCURRENTLY {name}")
        # It waits for every transaction that is open, and nobody waits for it meanwhile.
        schema_editor.execute("SET lock_timeout = 0")
        super().database_forwards(app_label, schema_editor, from_state, to_state)
        schema_editor.execute("RESET lock_timeout")
