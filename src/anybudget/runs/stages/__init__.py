"""The stages of a run: functions that read the run folder, do their work, and write the results back."""
