"""`python -m sondino`, which `accelerate launch -m sondino` needs."""

from sondino.cli import main

main()
