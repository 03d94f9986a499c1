"""Hydra configuration of AutoPose; installs as ``autopose.configs``."""
