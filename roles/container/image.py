"""An image on a server: unpacked under its digest once, given to the slots by a drop-in, taken from them again."""

import shlex
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, operation

from roles.ops.changes import tell, touch

Commands = Generator[Any, None, None]
PROGRAM = "/opt/dsops/venv/bin/python -I -m dsops.node.image"
ARCHIVES = "/var/lib/dsops/bundle/images"
IMAGES = "/var/lib/dsops/images"
DROP_IN = "/etc/systemd/system/triton@.service.d/image.conf"
# What slots have from outside of the image; mounted over folders that must be there.
MOUNTED = ("/opt/dsops/bin", "/var/lib/dsops/slots", "/var/lib/dsops/releases", "/var/cache/dsops-triton")


@dataclass(frozen=True)
class ImageState:
    """there: the image is unpacked, whole. used: the digest of the one that slots run from now, "" of the wheel."""

    there: bool = False
    used: str = ""


class ImageFact(FactBase[ImageState]):
    """A folder under its digest is whole: it came there by a rename."""

    default = ImageState

    def command(self, digest: str) -> str:
        folder = shlex.quote(f"{IMAGES}/{digest.removeprefix('sha256:')}")
        used = f"sed -n 's|^RootDirectory={IMAGES}/|used=|p' {DROP_IN} 2>/dev/null"
        return f"[ ! -d {folder} ] || echo there; {used}; true"

    def process(self, output: list[str]) -> ImageState:
        used = next((line.removeprefix("used=") for line in output if line.startswith("used=")), "")
        return ImageState("there" in output, f"sha256:{used}" if used else "")


@operation()
def unpacked(image: str, *, digest: str) -> Commands:
    """Makes the server have the image, every byte of it proven. The one in use stays beside it, older ones go.

    + image: its name in the bundle
    + digest: sha256:...
    """
    state = host.get_fact(ImageFact, digest=digest)
    if state.there:
        host.noop(f"{digest} is there")
        return
    tell("image", image, f"{state.used or 'none'} -> {digest}")
    words = ["--digest", digest, "--into", IMAGES]
    words += [word for path in MOUNTED for word in ("--mounted", path)]
    words += ["--keep", state.used] if state.used else []
    yield f"{PROGRAM} {shlex.quote(f'{ARCHIVES}/{image}.oci.tar')} {shlex.join(words)}"


@operation()
def gone() -> Commands:
    """Makes slots run from the wheel's Triton from their next start on. The images stay, for the way back."""
    used = host.get_fact(ImageFact, digest="").used
    if not used:
        host.noop("slots run from the wheel")
        return
    tell("file", DROP_IN, "removed: slots run from the wheel")
    touch(DROP_IN)
    # The folder's time tells the engine role that the unit is another one: a file that is gone has none.
    yield f"rm -f {DROP_IN} && touch /etc/systemd/system/triton@.service && systemctl daemon-reload"
