"""What the benches of labelling compare with and count."""
