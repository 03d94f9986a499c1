"""Measurements: kernels, metrics, loading, small runs. Each says what hardware and versions it ran on."""
