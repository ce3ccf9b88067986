"""What the labelling benches compare with (NLTK, known sentences), and how they sort misses."""
