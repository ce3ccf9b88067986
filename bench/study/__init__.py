"""Studies of many trainings: tuning, lengths and thresholds."""
