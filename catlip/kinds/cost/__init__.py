"""Kinds of records of what a step, the data path and the training loop cost."""
