"""What bench.data_path times."""
