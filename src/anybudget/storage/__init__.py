"""What is written to disk and read back: whole files, run folders, checkpoints, journals, records."""
