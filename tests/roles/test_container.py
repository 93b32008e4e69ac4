"""The container role: which archives are refused before any change, and what a server gets."""

from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import DeployError

from roles.container.defaults import Container
from roles.container.image import DROP_IN, IMAGES, ImageFact, ImageState, gone, unpacked
from roles.ops.files import render
from tests.roles.bundle import write_bundle
from tests.roles.here import Here
from tests.roles.test_roles import commands

ROOT = Path(__file__).parents[2]
OLD = f"sha256:{'0' * 64}"


def run(tmp_path: Path, **said: Any) -> list[str]:
    """The role's commands."""
    return commands("container", tmp_path, **said)


def test_where_the_inventory_does_not_ask_nothing_is_looked_at(tmp_path: Path) -> None:
    assert run(tmp_path, container_image="") == []


def test_the_image_is_proven_and_whole_before_a_slot_may_run_from_it(tmp_path: Path) -> None:
    said = run(tmp_path)
    steps = ["/var/lib/dsops/bundle/images", "dsops.node.image", f"{DROP_IN}.dsops-new"]
    found = [next(i for i, line in enumerate(said) if words in line) for words in steps]
    assert found == sorted(found)
    assert any("--mounted /var/lib/dsops/slots" in line for line in said)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"container_digest": OLD}, "the archive holds another image: sha256:[0-9a-f]{64}, not sha256:0000"),
        ({"container_digest": "latest"}, "'latest' is no digest"),
        ({"container_image": "other"}, r"images/other\.oci\.tar: the bundle has no such image"),
        ({"container_image": "../triton"}, "is no name"),
        ({"container_venv": "opt/venv"}, "container_venv: should be an absolute path"),
    ],
)
def test_a_wrong_image_is_refused_before_any_change(tmp_path: Path, said: dict[str, Any], words: str) -> None:
    with pytest.raises(DeployError, match=f"{words}(.|\\n)*nothing was changed"):
        run(tmp_path, **said)


def test_an_archive_that_is_none_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (bundle / "images/triton.oci.tar").write_bytes(b"no tar")
    with pytest.raises(DeployError, match="it is no OCI archive"):
        run(tmp_path, bundle=bundle)


def answer(state: ImageState) -> Here:
    class Answering(Here):
        def get_fact(self, kind: type[Any], **arguments: Any) -> Any:
            return state

        def _run(self, command: Any) -> None:
            self.ran.append(str(command))

    return Answering()


def test_an_image_that_is_there_is_not_unpacked_again_and_the_one_in_use_is_kept() -> None:
    assert not answer(ImageState(there=True)).perform(unpacked, image="triton", digest=OLD)
    server = answer(ImageState(used=OLD))
    server.perform(unpacked, image="triton", digest=f"sha256:{'1' * 64}")
    assert f"--keep {OLD}" in server.ran[0]


def test_slots_go_back_to_the_wheel_once(tmp_path: Path) -> None:
    assert run(tmp_path, container_image="off")
    assert not answer(ImageState()).perform(gone)
    server = answer(ImageState(used=OLD))
    assert server.perform(gone)
    assert server.ran[0].startswith(f"rm -f {DROP_IN} ")


def test_a_server_says_which_image_is_in_use(tmp_path: Path) -> None:
    conf = render(ROOT / "roles/container/templates/image.conf.j2", said=Container(), root=f"{IMAGES}/{'0' * 64}")
    (tmp_path / "image.conf").write_text(conf)
    done = Here().sh(ImageFact().command(digest=OLD).replace(DROP_IN, str(tmp_path / "image.conf")))
    assert ImageFact().process(done.stdout.splitlines()) == ImageState(used=OLD)
    assert ImageFact().process(["there"]) == ImageState(there=True)
    assert ImageFact().process([]) == ImageState()


def test_the_unit_keeps_every_line_of_its_sandbox() -> None:
    """A drop-in adds: it must name nothing that would weaken what the unit itself says."""
    conf = (ROOT / "roles/container/templates/image.conf.j2").read_text()
    keys = {line.partition("=")[0] for line in conf.splitlines() if "=" in line and not line.startswith("#")}
    assert keys == {"RootDirectory", "MountAPIVFS", "BindReadOnlyPaths", "Environment"}
