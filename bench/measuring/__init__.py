"""What the cost benches share: the factors of a training step, its methods and its stopwatch."""
