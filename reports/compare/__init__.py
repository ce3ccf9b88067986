"""Compares two runs, or two folders of runs, and merges folders of records into one."""
