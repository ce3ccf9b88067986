"""What the studies of many trainings share: one training with its probe, and noisy shards."""
