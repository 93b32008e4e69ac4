"""`python -m dsops.node.image ARCHIVE --digest sha256:...`: unpacks an image on this server; a deploy runs it."""

import argparse
import os
import sys
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.node.image.archive import open_archive
from dsops.node.image.unpack import remove_others, unpack

IMAGES = Path("/var/lib/dsops/images")


def main() -> None:
    """Prints where it lies."""
    parser = argparse.ArgumentParser(prog="dsops-image", description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--digest", required=True)
    parser.add_argument("--into", type=Path, default=IMAGES)
    parser.add_argument("--mounted", action="append", default=[], help="a folder that shall be there")
    parser.add_argument("--keep", action="append", default=[], help="images that stay beside it; others go")
    said = parser.parse_args()
    os.umask(0o022)  # folders that no layer names must be readable too, whoever asks
    try:
        said.into.mkdir(parents=True, exist_ok=True)
        with open_archive(said.archive) as archive:
            print(unpack(archive, said.digest, into=said.into, mounted=said.mounted))
        remove_others(said.into, keep=[said.digest, *said.keep])
    except DsopsError as error:
        print(f"error: {error}\n  mend: {error.mend}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
