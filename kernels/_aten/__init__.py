"""Restructured ATen calls: the fused implementation of the CPU, and of whatever device the library's kernels suit."""
