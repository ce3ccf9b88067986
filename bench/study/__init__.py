"""Studies of many trainings: tuning, lengths, conditions and thresholds."""
