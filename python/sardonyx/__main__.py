<<<<<<< HEAD
"""`python -m sardonyx`: the command line."""
=======
"""`python -m sardonyx` is the command line."""
>>>>>>> build

import sys

from sardonyx.cli import main

if __name__ == "__main__":
    sys.exit(main())
