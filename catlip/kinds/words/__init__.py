"""Kinds of labels, vocabularies and recipes."""
