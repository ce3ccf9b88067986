"""The headline, the three questions, and the trainings."""
