"""Time, memory, communication, and where a speed-up comes from."""
