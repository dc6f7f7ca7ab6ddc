"""The program's own measurements: `make bench`. See README.md for what each figure means."""
