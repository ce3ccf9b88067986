"""Records to tables, plots and one page. Needs no torch."""
