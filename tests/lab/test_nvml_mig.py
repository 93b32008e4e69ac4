"""A simulated GPU divided into instances, through pynvml: made, listed, destroyed, and what is refused."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsops.catalog.mig import find_kind
from dsops.core.decode import decode
from dsops.core.mig import Kinds, Profile
from dsops.lab import gpus
from dsops.lab.cards import get_profile

from tests.lab.conftest import ROOT, SERVER, Reader, env_of

SMALL, HALF, ALL = 19, 9, 0  # NVML's numbers of 1g, 3g, 7g
IN_USE, RESET_REQUIRED, NO_ROOM = 19, 16, 21
MODE = "n.nvmlDeviceGetMigMode(h)"
# Words for the process that asks: pynvml's handles cannot cross as JSON.
HELP = """
def make(profile, start, size):
    place = n.c_nvmlGpuInstancePlacement_t(start, size)
    return n.nvmlDeviceCreateGpuInstanceWithPlacement(h, profile, n.byref(place))
def all_of(profile):
    found, count = (n.c_nvmlGpuInstance_t * 7)(), n.c_uint(7)
    n.nvmlDeviceGetGpuInstances(h, profile, found, n.byref(count))
    return list(found[: count.value])
def compute(instance, profile):
    found, count = (n.c_nvmlComputeInstance_t * 7)(), n.c_uint(7)
    n.nvmlGpuInstanceGetComputeInstances(instance, profile, found, n.byref(count))
    return list(found[: count.value])
def devices():
    found = []
    for index in range(n.nvmlDeviceGetMaxMigDeviceCount(h)):
        try: one = n.nvmlDeviceGetMigDeviceHandleByIndex(h, index)
        except n.NVMLError: break
        owner = n.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(one)
        ids = [n.nvmlDeviceGetGpuInstanceId(one), n.nvmlDeviceGetComputeInstanceId(one)]
        is_device = n.nvmlDeviceIsMigDeviceHandle(one).value
        found.append([n.nvmlDeviceGetUUID(one), *ids, is_device, n.nvmlDeviceGetIndex(owner)])
    return found
def ask(do):
    try: return do()
    except n.NVMLError as error: return ["code", error.value]
"""


class Divided(Reader):
    """A reader that knows the words above."""

    def __init__(self, library: Path, folder: Path) -> None:
        super().__init__(library, folder)
        self.ask("n.nvmlInit()")
        self.ask("n.nvmlDeviceGetHandleByIndex(0)")
        self.ask(f"exec({HELP!r}, globals())")
        self.ask("globals().update(h=n.nvmlDeviceGetHandleByIndex(0))")

    def do(self, words: str) -> object:
        """The answer, or ["code", number]."""
        return self.value(f"ask(lambda: {words})")


@pytest.fixture
def a100(library: Path, tmp_path: Path) -> Iterator[Divided]:
    gpus.reset(tmp_path / "a100", SERVER, profile="a100")
    one = Divided(library, tmp_path / "a100")
    yield one
    one.close()


def test_a_gpu_is_divided_into_seven_and_each_is_a_device_of_its_own(a100: Divided) -> None:
    assert a100.value(MODE) == [0, 0]
    assert a100.do("devices()") == []
    assert a100.do("n.nvmlDeviceSetMigMode(h, 1)") == 0
    assert a100.value(MODE) == [1, 1]
    for start in range(7):
        made = f"n.nvmlGpuInstanceCreateComputeInstance(make({SMALL}, {start}, 1), 0)"
        assert a100.do(f"bool({made})") is True
    found = a100.value("devices()")
    assert isinstance(found, list)
    assert [one[1:] for one in found] == [[number, 0, 1, 0] for number in range(1, 8)]
    assert len({one[0] for one in found}) == 7
    assert all(one[0].startswith("MIG-1ab00000-") and len(one[0]) == 40 for one in found)
    starts = f"[n.nvmlGpuInstanceGetInfo(one).placement.start for one in all_of({SMALL})]"
    assert a100.value(starts) == list(range(7))


def test_another_process_sees_what_one_has_made_and_another_gpu_is_untouched(
    a100: Divided, library: Path, tmp_path: Path
) -> None:
    a100.do("n.nvmlDeviceSetMigMode(h, 1)")
    a100.do(f"n.nvmlGpuInstanceCreateComputeInstance(make({HALF}, 4, 4), 2)")
    other = Divided(library, tmp_path / "a100")
    try:
        assert other.value("devices()") == a100.value("devices()") != []
        assert other.value("[n.nvmlDeviceGetMigMode(n.nvmlDeviceGetHandleByIndex(1)), len(devices())]") == [[0, 0], 1]
    finally:
        other.close()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (f"make({HALF}, 0, 4)", NO_ROOM),  # it is taken
        (f"make({HALF}, 1, 4)", 2),  # no such place
        (f"make({HALF}, 4, 3)", 2),
        (f"make({ALL}, 0, 8)", NO_ROOM),
        ("make(77, 0, 1)", 2),
        ("n.nvmlDeviceSetMigMode(h, 0)", IN_USE),
        ("n.nvmlDeviceSetMigMode(h, 2)", 2),
        (f"n.nvmlGpuInstanceDestroy(all_of({HALF})[0])", IN_USE),
        (f"n.nvmlGpuInstanceCreateComputeInstance(all_of({HALF})[0], 0)", NO_ROOM),
        (f"n.nvmlGpuInstanceGetComputeInstanceProfileInfo(all_of({HALF})[0], 3, 0, 1)", 3),
        ("n.nvmlDeviceGetMigDeviceHandleByIndex(h, 1)", 6),
        ("n.nvmlDeviceGetGpuInstanceId(h)", 2),
    ],
)
def test_what_a_driver_refuses_is_refused(a100: Divided, words: str, code: int) -> None:
    a100.do("n.nvmlDeviceSetMigMode(h, 1)")
    a100.do(f"n.nvmlGpuInstanceCreateComputeInstance(make({HALF}, 0, 4), 2)")
    assert a100.do(words) == ["code", code]


def compare_mig(library: Path, folder: Path) -> tuple[int, str]:
    """What the comparison with the catalog says of these GPUs."""
    env = env_of(library, folder) | {"PYTHONPATH": f"{ROOT}:{ROOT}/agent"}
    argv = [sys.executable, "-m", "tests.lab.compare_mig"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("profile", "code"), [("a100", 0), ("h100", 0), ("t4", 2)])
def test_the_catalog_has_each_profile_as_the_drivers_say_it(
    library: Path, tmp_path: Path, profile: str, code: int
) -> None:
    gpus.reset(tmp_path / "gpus", SERVER, profile=profile)
    found, said = compare_mig(library, tmp_path / "gpus")
    assert found == code, said
    assert said.count("7 profiles, 0 not as in the catalog" if not code else "it has no MIG") == SERVER.gpus


def test_a_gpu_that_the_catalog_has_otherwise_is_shown_as_the_catalog_wants_it(library: Path, tmp_path: Path) -> None:
    gpus.reset(tmp_path / "gpus", SERVER, profile="a100")
    gpus.change(tmp_path / "gpus", 1, {"mig_profile.2": "9 3g.21gb 3 2 19968 4 0 4"})
    found, said = compare_mig(library, tmp_path / "gpus")
    assert (found, "7 profiles, 2 not as in the catalog" in said) == (1, True), said
    assert "3g.21gb: not in the catalog\n3g.20gb: not on this GPU\n" in said
    entry = said[said.rindex("[[kinds]]") :]
    kind = decode(Kinds, {"source": "x", "date": "x", **tomllib.loads(entry)}, where="entry").kinds[0]
    assert (kind.ids, kind.slices) == (("20b0",), 8)
    assert kind.find("3g.21gb") == Profile("3g.21gb", 9, 4, (0, 4), 2, 19968)


def test_a_gpu_that_does_not_answer_is_never_as_the_catalog_says(library: Path, tmp_path: Path) -> None:
    gpus.reset(tmp_path / "gpus", SERVER, profile="h100")
    gpus.change(tmp_path / "gpus", 1, {"return": 15})
    found, said = compare_mig(library, tmp_path / "gpus")
    assert (found, "GPU is lost" in said) == (3, True), said
    found, said = compare_mig(tmp_path / "nowhere/libnvidia-ml.so.1", tmp_path / "gpus")
    assert (found, said.startswith("error: NVML: ")) == (3, True), said


def test_an_instance_goes_when_nothing_computes_on_it(a100: Divided, tmp_path: Path) -> None:
    a100.do("n.nvmlDeviceSetMigMode(h, 1)")
    a100.do(f"n.nvmlGpuInstanceCreateComputeInstance(make({HALF}, 0, 4), 2)")
    destroy = f"n.nvmlComputeInstanceDestroy(compute(all_of({HALF})[0], 2)[0])"
    gpus.change(tmp_path / "a100", 0, {"process.77": "5 1 0"})
    assert a100.do(destroy) == ["code", IN_USE]
    assert a100.value("[p.gpuInstanceId for p in n.nvmlDeviceGetComputeRunningProcesses(h)]") == [1]
    gpus.change(tmp_path / "a100", 0, {"process.77": None})
    assert a100.do(destroy) == 0
    assert a100.do("devices()") == []
    assert a100.do(f"n.nvmlGpuInstanceDestroy(all_of({HALF})[0])") == 0
    assert a100.do(f"all_of({HALF})") == []
    assert a100.do("n.nvmlDeviceSetMigMode(h, 0)") == 0
    assert a100.value(MODE) == [0, 0]


def test_a_mode_waits_while_the_gpu_is_used_or_wants_a_reset(a100: Divided, tmp_path: Path) -> None:
    gpus.change(tmp_path / "a100", 0, {"process.77": 5})
    assert a100.do("n.nvmlDeviceSetMigMode(h, 1)") == IN_USE
    assert a100.value(MODE) == [0, 1]
    gpus.change(tmp_path / "a100", 0, {"process.77": None, "mig_reset": 1})
    assert a100.do("n.nvmlDeviceSetMigMode(h, 1)") == RESET_REQUIRED
    assert a100.value(MODE) == [0, 1]
    assert a100.do(f"make({SMALL}, 0, 1)") == ["code", 3]


def test_a_gpu_without_mig_offers_none_of_it(reader: Reader, folder: Path) -> None:
    gpus.reset(folder, SERVER, profile="t4")
    for words in (MODE, "n.nvmlDeviceSetMigMode(h, 1)", "n.nvmlDeviceGetMaxMigDeviceCount(h)"):
        assert reader.code(words) == 3


@pytest.mark.parametrize("name", ["a100", "h100"])
def test_simulated_gpus_are_divided_as_the_catalog_says(name: str) -> None:
    """The catalog was written from NVIDIA's guide, and so is this: what counts is that the two do not drift apart."""
    card = get_profile(name).gpu
    kind = find_kind(f"{int(card['pci_id'], 0) >> 16:04x}")
    assert kind
    lines = [value.split() for key, value in card.items() if key.startswith("mig_profile.")]
    told = {
        (int(id), name, int(most), int(size), tuple(map(int, starts))) for id, name, _, most, _, size, *starts in lines
    }
    assert told == {(one.id, one.name, one.most, one.size, one.starts) for one in kind.profiles}


def test_a_folder_that_nobody_may_write_is_told(library: Path, tmp_path: Path) -> None:
    ask = (
        "import json, pynvml as n; n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0)\n"
        "try: n.nvmlDeviceSetMigMode(h, 1)\n"
        "except n.NVMLError as error: print(json.dumps(error.value))"
    )
    folder = tmp_path / "gpus"
    gpus.reset(folder, SERVER, profile="a100")
    (folder / "gpu0.mig.part").mkdir()  # what no account can open for writing, root neither
    done = subprocess.run(
        [sys.executable, "-c", ask], env=env_of(library, folder), capture_output=True, text=True, cwd=ROOT
    )
    assert json.loads(done.stdout) == 4, done.stderr
