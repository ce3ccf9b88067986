"""Kinds of what a step, the data path and the loop cost."""
