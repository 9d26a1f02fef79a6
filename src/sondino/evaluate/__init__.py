"""What a model is worth: probes on labels, fidelity to a teacher, size and speed, and the page that shows them."""
