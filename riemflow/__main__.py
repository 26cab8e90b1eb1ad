"""``python -m riemflow`` is the command ``riemflow``."""

from riemflow.cli import main

main()
