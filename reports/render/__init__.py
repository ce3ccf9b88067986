"""Tables, figures and sections as one page."""
