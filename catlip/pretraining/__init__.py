"""Pre-training by any method: a recipe, shards and an objective give a run folder and a record."""
