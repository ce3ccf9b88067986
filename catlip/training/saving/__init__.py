"""A run's checkpoints: what they hold, when they are due, and how they are written in the
background.
"""
