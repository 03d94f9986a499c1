"""The truth: every operator in plain PyTorch."""
