"""Published and local models: found, downloaded, converted, opened."""
