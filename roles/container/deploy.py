"""Container: slots run from an image of the bundle, with the same unit, sandbox, lanes and probes as from the wheel."""

import re
import tarfile
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.oci import INDEX, check_digest, find_manifest
from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from roles.container.defaults import Container
from roles.container.image import ARCHIVES, DROP_IN, IMAGES, gone, unpacked
from roles.ops.bundle import bundle_path, bundle_sums, bundle_tree
from roles.ops.files import Owner, config_file, folders, render
from roles.ops.site import settings

HERE = Path(__file__).parent
OFF = "off"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
PLACE = re.compile(r"(/[A-Za-z0-9._-]+)+")


@deploy("container")
def container() -> None:
    """Brings the image and gives it to the slots; the engine role restarts the one with the traffic, drained."""
    said = settings(Container)
    if not said.container_image:
        return
    if said.container_image == OFF:
        gone(name="container: slots run from the wheel")
        return
    check_settings(said)
    check_archive(said, bundle_path())
    bundle_tree("images", ARCHIVES)
    folders(name="container: folders", wanted={IMAGES: Owner("755"), str(Path(DROP_IN).parent): Owner("755")})
    unpacked(name="container: image", image=said.container_image, digest=said.container_digest, _timeout=3600)
    root = f"{IMAGES}/{said.container_digest.removeprefix('sha256:')}"
    content = render(HERE / "templates/image.conf.j2", said=said, root=root)
    config_file(name="container: slots run from it", path=DROP_IN, content=content)


def check_settings(said: Container) -> None:
    """Raises DeployError before any change."""
    problem = ""
    if not NAME.fullmatch(said.container_image):
        problem = f"container_image: {said.container_image!r} is no name; it is that of images/NAME.oci.tar"
    for key in ("container_triton", "container_venv"):
        if not PLACE.fullmatch(getattr(said, key)) or "/.." in getattr(said, key):
            problem = f"{key}: should be an absolute path, is {getattr(said, key)!r}"
    if problem:
        raise DeployError(f"{host.name}/{problem}\n  mend: see roles/container/README.md; nothing was changed")


def check_archive(said: Container, bundle: Path) -> None:
    """Raises DeployError before any change unless the bundle's archive holds the wanted image.

    What the archive says of itself; that each of its bytes is so is proven on the server, before it unpacks one.
    """
    name = f"{said.container_image}.oci.tar"
    try:
        check_digest(said.container_digest)
        if name not in bundle_sums("images").files:
            mend = f"`dsops bundle build --image {name}`"
            raise DsopsError("the bundle has no such image", where=f"images/{name}", mend=mend)
        find_manifest(read_index(bundle / "images" / name), digest=said.container_digest, where=f"images/{name}")
    except DsopsError as error:
        raise DeployError(f"{host.name}/container: {error}\n  mend: {error.mend}; nothing was changed") from error


def read_index(archive: Path) -> bytes:
    """The archive's list of images. Raises DsopsError when it is no archive."""
    try:
        with tarfile.open(archive, "r:") as tar:
            stream = tar.extractfile(tar.getmember(INDEX))
            return stream.read() if stream else b""
    except (OSError, tarfile.TarError, KeyError) as error:
        mend = "build the bundle again with an OCI archive"
        raise DsopsError(f"it is no OCI archive ({error})", where=str(archive), mend=mend) from error
