"""How the admin writes times: in UTC, sortable, as everywhere else in this program."""
