"""What every method's pre-training is: from a recipe, shards and an objective to a run folder and a
record.
"""
