"""Before the money is spent: what a pre-training would take, method beside method, on devices that
one has or rents.

A rate that was measured comes from the fastest record of bench.step_time of such a device; any
other is assumed, and its range is what it is assumed to lie in (sums: `bench.arithmetic.layouts`).
"""
