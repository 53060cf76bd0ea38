"""`python -m sardonyx` is the command line."""

import sys

from sardonyx.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
