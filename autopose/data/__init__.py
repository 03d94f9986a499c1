"""Datasets, crops, targets, checks, conversion, drawn figures."""
