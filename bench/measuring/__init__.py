"""How the cost benches measure: stopwatches, storages, collectives, and the variants that they
time.
"""
