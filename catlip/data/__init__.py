"""The one data path. Nothing here knows which method trains on it."""
