"""The first two screens: pictures, the three questions, the methods, what could be wrong."""
