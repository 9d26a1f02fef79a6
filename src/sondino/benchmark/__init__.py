"""Speed, size and memory of models, runtime beside runtime, each measured in processes of its own."""
