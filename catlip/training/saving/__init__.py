"""A run's checkpoints: what is in one, when one is written, and that no step waits for it."""
