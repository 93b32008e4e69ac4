"""Another build of dsops where one serves: one first, proven, then the rest; a bad one goes back, and no further."""

import asyncio
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from dsops.control.bundle.sign import LAB_NAMESPACE, Signer, sign
from dsops.control.bundle.verify import hash_file
from dsops.core.sums import make_sums, parse_sums

from tests.live.load import Load, run_beside
from tests.live.site import INVENTORY, LAB, NUMBERS, ROOT, SECRETS, Service, dsops, healthy, on, restore, wait

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]
GPU = ("gpu1", "gpu2", "gpu3")
# What another build has more at the end of one of its modules.
EXITS = ("dsops/node/agent/__init__.py", 'raise SystemExit("this build is broken on purpose")')
STANDS_STILL = (
    "dsops/node/agent/loop.py",
    "async def _stand_still(self, **_):\n    await asyncio.Event().wait()\n\n\nLoop.run_ticks = _stand_still",
)
IS_FINE = ("dsops/node/agent/__init__.py", "# another build, as good as the one before")


@dataclass(frozen=True)
class Deployed:
    """A deploy that ended."""

    code: int
    said: str


def make_bundle(folder: Path, patch: tuple[str, str]) -> Path:
    """An inventory of the lab with a bundle of its own: the lab's, but for its dsops, and signed as the lab signs."""
    bundle = folder / "bundle"
    shutil.copytree((LAB / "bundle/current").resolve(), bundle, copy_function=os.link)
    (wheel,) = (bundle / "wheels/dsops").glob("*.whl")
    rewrite(wheel, *patch)
    listed = bundle / "SHA256SUMS"
    files = dict(parse_sums(listed.read_text(), where=str(listed)).files)
    files[str(wheel.relative_to(bundle))] = hash_file(wheel)
    listed.unlink()  # until here it is one file with the lab's own
    listed.write_text(make_sums(files.items()).render())
    sign(listed, Signer(SECRETS / "bundle_ed25519", "lab", LAB_NAMESPACE))
    shutil.copytree(ROOT / "inventory", folder / "inventory")
    with (folder / "inventory/group_data/lab.py").open("a") as stream:
        stream.write(f'\nbundle_path = "{bundle}"\n')
    return folder / "inventory/lab.py"


def rewrite(wheel: Path, name: str, more: str) -> None:
    """The same wheel with more at the end of one module."""
    with zipfile.ZipFile(wheel) as old:
        held = {info.filename: old.read(info) for info in old.infolist()}
    held[name] += f"\n\n{more}\n".encode()
    wheel.unlink()
    with zipfile.ZipFile(wheel, "w") as new:
        for file, content in held.items():
            new.writestr(file, content)


# (inventory, limits) of each deploy.
DEPLOYED: list[tuple[Path, tuple[str, ...]]] = []


def deploy(inventory: Path, *limit: str) -> Deployed:
    DEPLOYED.append((inventory, limit))
    words = [word for name in limit for word in ("--limit", name)]
    since = time.monotonic()
    done = dsops("deploy", "-i", inventory, *words)
    print(f"deploy{''.join(f' {word}' for word in words)}: {time.monotonic() - since:.1f} s\n{done.stdout}")
    assert "Traceback" not in done.stdout + done.stderr
    return Deployed(done.returncode, done.stdout)


def on_all(command: str) -> dict[str, str]:
    """server -> what a command says there."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(NUMBERS, pool.map(lambda node: on(node, command), NUMBERS), strict=True))


def builds() -> dict[str, str]:
    """server -> the build that is in use there."""
    return on_all("readlink /opt/dsops/venv")


def processes() -> dict[str, str]:
    """server -> the processes of our daemons."""
    return on_all("systemctl show -p MainPID --value dsops-agent dsops-gateway dsops-balancer")


def lost(load: Load) -> list[str]:
    """What went wrong with requests; a wrong sum is the demo model's own."""
    return [one.problem for one in load.asked if one.problem and ": said" not in one.problem]


@pytest.fixture(scope="module", autouse=True)
def as_it_was(service: Service) -> Iterator[None]:
    """Afterwards every server has the lab's own build and serves, whatever came of a test."""
    restore()
    before = builds()
    yield
    restore()
    if DEPLOYED[-1:] != [(INVENTORY, ())]:
        assert deploy(INVENTORY).code == 0
    assert builds() == before


def test_a_build_whose_agent_dies_goes_back_on_the_first_server_and_reaches_no_other(
    fleet: Service, tmp_path: Path
) -> None:
    inventory = make_bundle(tmp_path, EXITS)
    build, process = builds(), processes()
    load = Load(fleet.async_client(), parallel=1, total=None)
    ended: list[Deployed] = []

    def act() -> float:
        ended.append(deploy(inventory))
        return 0.0

    asyncio.run(run_beside(load, act, before=0.5, after=0.5))
    (done,) = ended
    assert done.code != 0
    assert "dsops-agent.service does not start" in done.said
    assert "this build is broken on purpose" in done.said
    assert f"put back to {Path(build['gpu1']).name}: dsops-agent.service as before" in done.said
    for node in ("gpu2", "gpu3", "lb1", "mon1"):
        assert f"{node}: gpu1 did not come up with the new dsops; this server keeps the old one" in done.said
    assert "triton |" not in done.said, "nothing after it may be changed"
    assert builds() == build
    now = processes()
    assert {node for node in NUMBERS if now[node] != process[node]} == {"gpu1"}
    # Its agent was restarted; its gateway, which comes last, never was.
    assert now["gpu1"].split()[1] == process["gpu1"].split()[1]
    wait("all serve", lambda: all(healthy(node) for node in GPU), seconds=10)
    print(f"{len(load.asked)} requests, {len(lost(load))} lost")
    assert len(load.asked) > 10
    assert not lost(load)


def test_a_build_whose_agent_runs_but_sees_nothing_goes_back(fleet: Service, tmp_path: Path) -> None:
    build = builds()
    done = deploy(make_bundle(tmp_path, STANDS_STILL), "gpu2")
    assert done.code != 0
    assert "the agent answers, but observes nothing new" in done.said
    assert f"put back to {Path(build['gpu2']).name}: dsops-agent.service as before" in done.said
    assert builds() == build
    wait("gpu2 serves", lambda: healthy("gpu2"), seconds=10)


def test_a_good_build_is_taken_and_left_again_and_an_operators_drain_stays(fleet: Service, tmp_path: Path) -> None:
    build, inventory = builds(), make_bundle(tmp_path, IS_FINE)
    assert dsops("drain", "gpu3", "--reason", "new fans", "-i", INVENTORY).returncode == 0
    done = deploy(inventory, "gpu3")
    assert done.code == 0, done.said
    assert "base: dsops in use: changed on gpu3" in done.said
    assert "running: changed" not in done.said, "the proof restarted them; nothing is left to restart"
    assert builds()["gpu3"] != build["gpu3"]
    assert "new fans" in on("gpu3", "/opt/dsops/venv/bin/dsops node status --json")
    assert dsops("undrain", "gpu3", "-i", INVENTORY).returncode == 0
    done = deploy(INVENTORY)
    assert done.code == 0, done.said
    assert "base: dsops: changed" not in done.said, "the older build is still there"
    assert "base: dsops in use: changed on gpu3\n" in done.said
    assert builds() == build


def test_then_a_deploy_changes_nothing(fleet: Service) -> None:
    assert "on 5 servers: nothing changed" in deploy(INVENTORY).said
