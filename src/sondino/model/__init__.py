"""A bundle: the model that embeds, its torch form, its head, and the files that hold it."""
