"""What drives a run: optimisation, precision, randomness, memory; importing the package registers its classes."""

from mimeval.engine import dense_schedule, hooks, lars, layer_decay, loops, precision, schedule  # noqa: F401
