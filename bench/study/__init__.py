"""Studies of many trainings: tuning, lengths, noise and thresholds."""
