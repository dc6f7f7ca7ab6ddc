"""What machines may ask of us: who may read figures, and what each process counts."""
