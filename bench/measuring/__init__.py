"""How the cost benches measure: stopwatches, storages, collectives, and the variants of training
that they time.
"""
