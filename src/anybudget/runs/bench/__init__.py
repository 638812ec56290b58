"""`anybudget bench`: supernets and strategies against the truth of a tabular benchmark."""

from anybudget.runs.bench.bench import run_bench
from anybudget.runs.bench.tracks import Track, TrackSettings, load_track, packaged_tracks

__all__ = ["Track", "TrackSettings", "load_track", "packaged_tracks", "run_bench"]
