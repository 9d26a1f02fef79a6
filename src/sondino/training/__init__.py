"""What every training loop needs: device, batches, checkpoints, the run's folder."""
