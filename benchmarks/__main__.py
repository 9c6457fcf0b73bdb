"""`python -m benchmarks [SUITE ...]`: the same as `mesode bench`."""

import sys

from mesode.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
