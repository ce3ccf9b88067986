"""What an encoder is worth on the paper's downstream tasks."""
