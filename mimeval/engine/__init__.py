"""What drives a run: optimisation, precision, randomness, memory; importing the package registers its classes."""

from mimeval.engine import hooks, lars, layer_decay, precision, schedule  # noqa: F401
