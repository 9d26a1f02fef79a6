"""Files and streams to embeddings and labels, tables of them, and search in them."""
