"""Executes steps of a finished or stopped pre-training again, and compares the results with what it
left.
"""
