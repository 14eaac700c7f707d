"""Score and compare runs: `python evaluate.py RUN [RUN ...]`, the same as `nmt evaluate`."""

import sys

from nmt.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
