"""OKS, AP, PCK, PCKh, NMS: pure functions on arrays."""
