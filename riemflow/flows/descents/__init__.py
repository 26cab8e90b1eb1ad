"""Discrete steps: gradient and mirror descent, their step sizes, and the gap between them."""
