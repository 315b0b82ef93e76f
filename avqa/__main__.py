"""``python -m avqa``: the command line."""

from avqa.cli import main

main()
