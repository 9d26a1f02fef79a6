"""Shared by all training loops: device, batches, checkpoints, the run's folder."""
