"""The package's scores, as pure functions and as a metric for the `evaluate` library. The folder can be pushed as it is."""
