"""Get Multi30k English-German into data/multi30k: `python data/multi30k.py`, or with files at hand `--from DIR`.

29,000 training, 1,014 validation and 1,000 test pairs (test_2016_flickr) of image captions, for research and education,
non-commercial (Elliott et al. 2016, https://github.com/multi30k/dataset). Every file is checked against its sum.
"""

import argparse
import hashlib
import sys
import urllib.error
import urllib.request
from pathlib import Path

SITE = "https://raw.githubusercontent.com/multi30k/dataset"
REVISION, NEWEST = "a3d2e0d", "master"  # the one whose sums stand below; and if the site does not know its short name

SUMS = {
    "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="origin", type=Path, metavar="DIR", help="folder that holds the files")
    parser.add_argument(
        "--to", type=Path, metavar="DIR", default=Path("data/multi30k"), help="where they go (%(default)s)"
    )
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    for name, expected in SUMS.items():
        target = arguments.to / name
        if target.exists() and hashlib.sha256(target.read_bytes()).hexdigest() == expected:
            continue
        try:
            data = (arguments.origin / name).read_bytes() if arguments.origin else download(name)
        except (OSError, urllib.error.URLError) as error:
            print(f"{name}: cannot be read: {error}\nwith the files at hand, give --from DIR", file=sys.stderr)
            return 2
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            print(f"{name}: its SHA-256 is {found}, but should be {expected}", file=sys.stderr)
            return 2
        aside = target.with_suffix(".part")
        aside.write_bytes(data)
        aside.replace(target)
        print(f"{target}  {len(data):,} bytes")
    print(
        f"complete: {arguments.to}\nnext: python train.py configs/multi30k-transformer.toml configs/multi30k-rnn.toml"
    )
    return 0


def download(name: str) -> bytes:
    """A file's bytes, from the site of the data."""
    try:
        return read(f"{SITE}/{REVISION}/data/task1/raw/{name}")
    except urllib.error.HTTPError:
        return read(f"{SITE}/{NEWEST}/data/task1/raw/{name}")


def read(address: str) -> bytes:
    """The bytes at an address."""
    with urllib.request.urlopen(address, timeout=60) as answer:
        return bytes(answer.read())


if __name__ == "__main__":
    sys.exit(main())
