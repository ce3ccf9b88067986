"""Records from disk: validated once, then grouped by what may be averaged."""
