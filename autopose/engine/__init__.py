"""Loops: a search, a training, the reward, a search's health."""
