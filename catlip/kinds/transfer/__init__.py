"""Kinds of trainings, and of encoders' accuracies on other tasks."""
