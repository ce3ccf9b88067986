"""Captions from tables, cut into parts that are labelled on their own."""
