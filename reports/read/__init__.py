"""Reads records from disk, validates them once, and groups those that may be averaged."""
