"""Kinds of trainings and of what encoders are worth."""
