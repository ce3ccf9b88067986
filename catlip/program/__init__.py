"""What every program shares: errors, flags and their ranges, progress, and samples left out."""
