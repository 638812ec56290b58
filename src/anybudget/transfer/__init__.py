"""Found networks in other tasks than the one they were found for: backbones of detectors."""
