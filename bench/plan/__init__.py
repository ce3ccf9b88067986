"""Plans a pre-training before money is spent: what it would take with each method, on devices that
one has or rents.

The rate of a device comes from its fastest record of bench.step_time. Without a record it is
assumed, and the plan gives the range in which it is assumed to lie (sums:
`bench.arithmetic.layouts`).
"""
