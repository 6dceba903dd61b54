"""A made-up night of research, for tests, benches and a look around: believable data, no training."""
