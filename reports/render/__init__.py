"""Renders tables, figures and sections as one page."""
