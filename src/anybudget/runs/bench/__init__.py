"""`anybudget bench`: supernets and strategies against the truth of a tabular benchmark."""

from anybudget.runs.bench.bench import Prepared, prepare, run_bench
from anybudget.runs.bench.tracks import Track, TrackSettings, load_track, packaged_tracks

__all__ = ["Prepared", "Track", "TrackSettings", "load_track", "packaged_tracks", "prepare", "run_bench"]
