"""What encoders are worth on other tasks."""
