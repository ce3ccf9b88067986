"""Labels, vocabularies and what they cover."""
