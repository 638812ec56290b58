"""What a run needs from the machine: device, processes, progress, signals."""
