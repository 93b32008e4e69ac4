"""Triton from an image on the lab: brought, served from, swapped, rolled back, and left for the wheel again."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsops.control.bundle.images import copy_images
from dsops.control.bundle.sign import LAB_NAMESPACE, Signer, sign
from dsops.control.bundle.verify import hash_file
from dsops.core.sums import make_sums, parse_sums
from dsops.lab.base import find_base
from dsops.lab.image import build_image
from dsops.lab.place import LAB as PLACE

from tests.live.moves import Shelf, bring, roll_back
from tests.live.site import (
    GPUS,
    INVENTORY,
    LAB,
    ROOT,
    SECRETS,
    Service,
    dsops,
    get_good,
    healthy,
    on,
    restore,
    ssh,
    wait,
)

pytestmark = [pytest.mark.live, pytest.mark.thorough, pytest.mark.timeout(900)]
NODE = "gpu1"
IMAGES = "/var/lib/dsops/images"
ROOT_OF = "stat -c '%d %i' /proc/$(systemctl show -p MainPID --value triton@{slot})/root/."
# No rights, a filter, no user but its own: asked of the process, not of its file.
SANDBOX = (
    "sed -n 's/^\\(Uid\\|NoNewPrivs\\|Seccomp\\|CapEff\\):\\s*//p'"
    " /proc/$(systemctl show -p MainPID --value triton@{slot})/status"
)


@pytest.fixture(scope="module")
def images(service: Service, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two archives, as good as each other, and their digests; in a bundle that is the lab's but for them."""
    folder = tmp_path_factory.mktemp("images")
    base = find_base(PLACE)
    assert base
    bundle = (LAB / "bundle/current").resolve()
    for name in ("one", "two"):
        (folder / name).mkdir()
        build_image(base, bundle, folder / f"{name}.oci.tar", work=folder / name, more=f"{name}\n".encode())
        shutil.rmtree(folder / name)
    whole = folder / "bundle"
    shutil.copytree(bundle, whole, copy_function=os.link)
    digests = copy_images([folder / "one.oci.tar", folder / "two.oci.tar"], out=whole / "images")
    listed = whole / "SHA256SUMS"
    files = dict(parse_sums(listed.read_text(), where=str(listed)).files)
    files |= {f"images/{path.name}": hash_file(path) for path in (whole / "images").iterdir()}
    listed.unlink()  # until here it is one file with the lab's own
    listed.write_text(make_sums(files.items()).render())
    sign(listed, Signer(SECRETS / "bundle_ed25519", "lab", LAB_NAMESPACE))
    return {"bundle": str(whole), **digests}


def deploy(folder: Path, images: dict[str, str], *, image: str, digest: str = "") -> tuple[int, str]:
    """One server, from the image of that name."""
    shutil.rmtree(folder / "inventory", ignore_errors=True)
    shutil.copytree(ROOT / "inventory", folder / "inventory")
    with (folder / "inventory/group_data/lab.py").open("a") as stream:
        stream.write(f'\nbundle_path = "{images["bundle"]}"\ncontainer_image = "{image}"\n')
        stream.write(f'container_digest = "{digest or images.get(image, "")}"\n')
    done = dsops("deploy", "-i", folder / "inventory/lab.py", "--limit", NODE, timeout=800)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def find_slot() -> str:
    """The slot that has the traffic."""
    return on(NODE, "basename $(readlink /var/lib/dsops/lanes/l50)")


def runs_in(digest: str) -> bool:
    """Whether the slot with the traffic has this image for its root."""
    wanted = on(NODE, f"stat -c '%d %i' {IMAGES}/{digest.removeprefix('sha256:')}")
    return on(NODE, ROOT_OF.format(slot=find_slot())) == wanted


@pytest.fixture(scope="module", autouse=True)
def as_it_was(service: Service) -> Iterator[None]:
    """Afterwards the server runs from the wheel, as the lab's inventory has it."""
    restore()
    yield
    ssh(NODE, f"rm -rf {IMAGES} /var/lib/dsops/bundle/images /etc/systemd/system/triton@.service.d/image.conf")
    ssh(NODE, "touch /etc/systemd/system/triton@.service; systemctl daemon-reload")
    done = dsops("deploy", "-i", INVENTORY, "--limit", NODE, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    restore()


def test_an_image_with_another_digest_is_refused_and_nothing_changes(
    fleet: Service, images: dict[str, str], tmp_path: Path
) -> None:
    before = on(NODE, f"systemctl show -p MainPID triton@{find_slot()}")
    code, said = deploy(tmp_path, images, image="one", digest=images["two"])
    assert code != 0
    assert "the archive holds another image" in said
    assert images["one"] in said
    assert "nothing was changed" in said
    assert on(NODE, f"systemctl show -p MainPID triton@{find_slot()}") == before
    assert ssh(NODE, f"ls -d {IMAGES}").returncode != 0


def test_an_archive_that_was_altered_on_its_way_is_refused_by_the_server(
    fleet: Service, images: dict[str, str], tmp_path: Path
) -> None:
    """The bundle's own proof is passed by: what the server itself proves."""
    archive = f"{tmp_path}/one.oci.tar"
    shutil.copy(Path(images["bundle"]) / "images/one.oci.tar", archive)
    with Path(archive).open("r+b") as stream:
        stream.seek(300 << 20)
        stream.write(b"altered")
    size = Path(archive).stat().st_size
    assert size > 400 << 20
    shutil.copy(archive, PLACE.home(next(one for one in PLACE.servers if one.name == NODE)).data / "altered.oci.tar")
    said = ssh(
        NODE,
        "/opt/dsops/venv/bin/python -I -m dsops.node.image /var/lib/dsops/altered.oci.tar"
        f" --digest {images['one']} --into /var/lib/dsops/altered; rm -f /var/lib/dsops/altered.oci.tar",
        timeout=300,
    )
    assert "a blob is not what it is named" in said.stderr
    assert on(NODE, "ls /var/lib/dsops/altered; rmdir /var/lib/dsops/altered") == ""


def test_triton_serves_from_an_image_is_swapped_and_rolled_back(
    fleet: Service, images: dict[str, str], shelf: Shelf, tmp_path: Path
) -> None:
    code, said = deploy(tmp_path, images, image="one")
    assert code == 0, said
    assert runs_in(images["one"])
    wait("the node serves", lambda: healthy(NODE))
    uid = on(NODE, "id -u triton")
    slot = find_slot()
    assert on(NODE, SANDBOX.format(slot=slot)).split("\n") == ["\t".join([uid] * 4), "0" * 16, "1", "2"]
    # A release comes and goes in it as always: other slot, golden prompts, lanes, way back.
    good = get_good()
    bring(shelf["calm"], NODE)
    assert find_slot() != slot
    assert runs_in(images["one"])
    done = roll_back(NODE, "--reason", "live test")
    assert done.returncode == 0, done.stdout + done.stderr
    wait("the good release is back", lambda: json.loads(_status())["release"] == good, seconds=120)
    assert runs_in(images["one"])
    # Another image, and back again: nothing is unpacked a second time.
    made = f"stat -c '%i %W' {IMAGES}/{images['one'][7:]}"
    since = on(NODE, made)
    code, said = deploy(tmp_path, images, image="two")
    assert code == 0, said
    assert runs_in(images["two"])
    code, said = deploy(tmp_path, images, image="one")
    assert code == 0, said
    assert runs_in(images["one"])
    assert on(NODE, made) == since
    assert sorted(on(NODE, f"ls {IMAGES}").split()) == sorted(images[name][7:] for name in ("one", "two"))
    code, said = deploy(tmp_path, images, image="off")
    assert code == 0, said
    assert on(NODE, ROOT_OF.format(slot=find_slot())) == on(NODE, "stat -c '%d %i' /.")
    assert all(wait(f"{node} serves", lambda n=node: healthy(n)) >= 0 for node in GPUS)  # type: ignore[misc]


def _status() -> str:
    return on(NODE, "/opt/dsops/venv/bin/dsops node status --json")
