"""Labels on top of embeddings: a linear head, or head and backbone trained together."""
