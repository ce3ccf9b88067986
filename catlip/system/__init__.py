"""The machine and its files: load, processes, locks, the cache, and files written by others."""
