"""Train models: `python train.py CONFIG.toml [CONFIG.toml ...]`, the same as `nmt train`."""

import sys

from nmt.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
