"""Turns records into tables, figures and one page. Does not need torch."""
