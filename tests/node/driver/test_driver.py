"""A server's driver: changed as one set, judged at each boot, taken back by itself, and cut at every command."""

import json
from pathlib import Path

import pytest
from dsops.core.drivers.boots import Act, Stage
from dsops.core.drivers.gate import Asked
from dsops.core.drivers.lockset import STATE, VERDICT
from dsops.core.errors import DsopsError
from dsops.node.driver.place import Place
from dsops.node.run import Done

from tests.core.drivers.sets import DEBIAN, OLDER
from tests.node.driver.server import Server, put_set

A, B = OLDER.name, DEBIAN.name
KERNEL = DEBIAN.kernel.release


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path, KERNEL)


def verdict(server: Server) -> dict[str, object]:
    data: dict[str, object] = json.loads((server.root / VERDICT.lstrip("/")).read_text())
    return data


def loaded(server: Server) -> str:
    """The driver whose modules lie in the kernel's tree."""
    return (server.root / f"lib/modules/{KERNEL}/updates/dsops/nvidia-current.ko").read_text().split()[0]


def settle(server: Server) -> None:
    """A, as it was before all this; it passed once. Then a deploy brought B."""
    put_set(server.root, OLDER)
    server.driver().change(A)
    put_set(server.root, DEBIAN)
    path = server.root / STATE.lstrip("/")
    path.write_text(json.dumps({**json.loads(path.read_text()), "stage": "settled", "passed": [A]}))


def test_a_set_is_installed_in_just_its_versions_pinned_held_and_asks_for_a_reboot(server: Server) -> None:
    put_set(server.root, DEBIAN)
    state = server.driver().change(B)
    assert (state.stage, state.current) == (Stage.TRIAL, B)
    assert server.installed == dict(DEBIAN.pins)
    assert server.held == set(DEBIAN.pins)
    assert loaded(server) == DEBIAN.driver
    pins = (server.root / "etc/apt/preferences.d/90-dsops-driver").read_text()
    assert "Package: libcuda1\nPin: version 535.309.01-0+deb12u1\nPin-Priority: 1001" in pins
    assert (server.root / "run/dsops-driver-turned").exists()
    order = [next(i for i, line in enumerate(server.ran) if word in line) for word in ("depmod", "update-initramfs")]
    assert order == sorted(order)
    assert server.ran[-1] == "sync"


def test_apt_sees_the_sets_own_folder_and_nothing_else(server: Server) -> None:
    put_set(server.root, DEBIAN)
    server.driver().change(B)
    source = (server.root / "var/lib/dsops/driver/apt.list").read_text()
    folder = server.root / f"var/lib/dsops/driver/sets/{B}/repo"
    assert source == f"deb [signed-by={folder}/keyring.gpg] file:{folder} ./\n"
    install = next(line for line in server.ran if " install " in line)
    assert "Dir::Etc::sourceparts=-" in install
    assert "--allow-downgrades --allow-change-held-packages" in install


def test_what_a_cut_left_half_unpacked_is_unpacked_again_before_apt_is_asked(server: Server) -> None:
    """apt refuses to go on from it: it would want the version that was being replaced. Seen with real dpkg."""
    settle(server)
    repo = server.root / f"var/lib/dsops/driver/sets/{B}/repo"
    for name in ("libcuda1", "glx-diversions", "coreutils"):
        (repo / f"{name}_1_amd64.deb").touch()
    server.audit = "glx-diversions"
    server.driver().change(B)
    steps = [line for line in server.ran if "--unpack" in line or " install " in line][-3:]
    unpack = steps[0]
    assert "libcuda1_1_amd64.deb" in unpack
    assert "glx-diversions_1_amd64.deb" in unpack
    assert "coreutils" not in unpack
    assert "--force-depends" in unpack
    assert steps[1].endswith("--fix-broken")
    assert f"libcuda1={DEBIAN.pins['libcuda1']}" in steps[2]
    assert server.installed == dict(DEBIAN.pins)


def test_the_set_before_stays_and_older_ones_go(server: Server) -> None:
    settle(server)
    (server.root / "var/lib/dsops/driver/sets/set-0").mkdir()
    server.driver().change(B)
    assert {path.name for path in Place(server.root).sets.iterdir()} == {A, B}


def test_a_boot_without_a_gpu_is_told_apart_and_changes_nothing(server: Server) -> None:
    put_set(server.root, DEBIAN)
    server.driver().change(B)
    server.boot("b1")
    assert server.driver().judge_boot() is Act.NOTHING
    said = verdict(server)
    assert (said["outcome"], said["stage"], said["set"]) == ("no-gpu", "trial", B)
    assert "no GPU on PCI" in str(said["says"])


def test_boots_that_fail_at_the_gate_end_with_the_set_before_all_of_it(server: Server) -> None:
    settle(server)
    server.driver().change(B)
    server.link_libraries(OLDER.driver)  # somebody, or a half-done upgrade
    server.boot("b1")
    assert server.driver().judge_boot() is Act.REBOOT
    assert verdict(server)["outcome"] == "failed"
    server.boot("b2")
    assert server.driver().judge_boot() is Act.REBOOT
    state = Place(server.root).find_state()
    assert state
    assert (state.current, state.stage, state.bad) == (A, Stage.TRIAL, (B,))
    assert server.installed == dict(OLDER.pins)
    assert loaded(server) == OLDER.driver
    assert any("libcuda.so.1 is 535.261.03" in line and f"back to {A}" in line for line in server.told)
    server.boot("b3")
    assert server.driver().judge_boot() is Act.NOTHING
    said = verdict(server)
    assert (said["set"], said["outcome"]) == (A, "no-gpu")
    # Also later it says why.
    assert f"{B} failed at boot 2 of 2: libcuda.so.1 is 535.261.03" in str(said["left"])
    assert str(said["left"]).endswith(f"back to {A}")


def test_the_boot_in_which_it_was_changed_is_not_judged(server: Server) -> None:
    put_set(server.root, DEBIAN)
    server.driver().change(B)
    server.link_libraries(OLDER.driver)
    assert server.driver(limit=1).judge_boot() is Act.NOTHING
    state = Place(server.root).find_state()
    assert state
    assert state.failures == 0


def test_a_gpu_whose_driver_does_not_answer_fails_the_boot(tmp_path: Path) -> None:
    server = Server(tmp_path, KERNEL, gpus=2)
    settle(server)
    server.driver().change(B)
    server.boot("b1")
    server.asked = Asked(hung=True, says="no answer in 60 s")
    assert server.driver().judge_boot() is Act.REBOOT
    assert "the driver does not answer: no answer in 60 s" in str(verdict(server)["says"])


def test_a_set_that_passes_is_settled(tmp_path: Path) -> None:
    put_set(tmp_path, DEBIAN)
    server = Server(tmp_path, KERNEL, gpus=2)
    server.driver().change(B)
    server.boot("b1")
    server.write("/sys/module/nvidia/version", DEBIAN.driver)
    server.asked = Asked(nvml=0, driver=DEBIAN.driver, gpus=2, cuda=0)
    plain = server.run

    def run(argv: list[str], *, timeout: float = 10, input: bytes = b"") -> Done:
        done = plain(argv, timeout=timeout, input=input)
        return Done(0, "LoadState=loaded\nActiveState=active\n", "") if argv[0] == "systemctl" else done

    driver = server.driver()
    driver.run = run  # type: ignore[assignment]
    assert driver.judge_boot() is Act.NOTHING
    assert (verdict(server)["outcome"], verdict(server)["stage"]) == ("passed", "settled")


def test_a_change_that_cannot_be_installed_leaves_the_set_that_was(server: Server) -> None:
    settle(server)
    server.breaks = {f"libcuda1={DEBIAN.pins['libcuda1']}": "E: no space left on device"}
    with pytest.raises(DsopsError, match="no space left on device"):
        server.driver().change(B)
    state = Place(server.root).find_state()
    assert state
    assert (state.current, state.stage, state.bad) == (A, Stage.TRIAL, ())
    assert server.installed == dict(OLDER.pins)
    assert loaded(server) == OLDER.driver


def test_where_nothing_can_be_installed_it_halts_and_says_so(server: Server) -> None:
    settle(server)
    server.breaks = {" install ": "E: no space left on device"}
    with pytest.raises(DsopsError):
        server.driver().change(B)
    state = Place(server.root).find_state()
    assert state
    assert state.stage is Stage.HALTED
    server.breaks = {}
    server.boot("b1")
    assert server.driver().judge_boot() is Act.NOTHING
    assert "a person must look" in str(verdict(server)["says"])
    assert server.driver().change(B).stage is Stage.TRIAL


def test_a_module_that_is_not_the_bundles_stops_the_change(server: Server) -> None:
    settle(server)
    (server.root / f"var/lib/dsops/driver/sets/{B}/modules/nvidia-current.ko").write_text("other")
    with pytest.raises(DsopsError, match="the module is not what the bundle's set says"):
        server.driver().change(B)
    assert loaded(server) == OLDER.driver


class Cut(Exception):
    """The power goes."""


def count_commands(tmp_path: Path) -> int:
    server = Server(tmp_path / "count", KERNEL)
    settle(server)
    before = len(server.ran)
    server.driver().change(B)
    return len(server.ran) - before


def test_a_power_cut_at_any_command_of_a_change_ends_with_one_whole_set(tmp_path: Path) -> None:
    commands = count_commands(tmp_path)
    assert commands >= 6
    for at in range(commands):
        root = tmp_path / str(at)
        server = Server(root, KERNEL)
        settle(server)
        cut(server, at)
        server.boot("b1")
        assert server.driver().judge_boot() is Act.REBOOT
        state = Place(root).find_state()
        assert state
        assert (state.current, state.stage, state.failures) == (B, Stage.TRIAL, 0), f"cut at command {at}"
        assert (server.installed, loaded(server)) == (dict(DEBIAN.pins), DEBIAN.driver), f"cut at command {at}"
        server.boot("b2")
        assert server.driver().judge_boot() is Act.NOTHING


def cut(server: Server, at: int) -> None:
    """Changes to B until the power goes at a command, which is done in full or not at all."""
    plain, left = server.run, [at]

    def run(argv: list[str], *, timeout: float = 10, input: bytes = b"") -> Done:
        if left[0] == 0:
            raise Cut
        left[0] -= 1
        return plain(argv, timeout=timeout, input=input)

    driver = server.driver()
    driver.run = run  # type: ignore[assignment]
    with pytest.raises(Cut):
        driver.change(B)


def test_a_cut_change_whose_set_is_gone_goes_back(server: Server) -> None:
    settle(server)
    cut(server, 3)
    (server.root / f"var/lib/dsops/driver/sets/{B}/set.json").unlink()
    server.boot("b1")
    assert server.driver().judge_boot() is Act.REBOOT
    state = Place(server.root).find_state()
    assert state
    assert (state.current, state.stage) == (A, Stage.TRIAL)
    assert server.installed == dict(OLDER.pins)


def test_a_state_that_cannot_be_read_is_said_with_its_mend(server: Server) -> None:
    put_set(server.root, OLDER)
    server.driver().change(A)
    (server.root / STATE.lstrip("/")).write_text("{")
    with pytest.raises(DsopsError, match="the state cannot be read") as caught:
        server.driver().judge_boot()
    assert "remove it" in caught.value.mend


def test_a_gate_that_cannot_look_counts_nothing(server: Server) -> None:
    put_set(server.root, OLDER)
    server.driver().change(A)
    (server.root / f"var/lib/dsops/driver/sets/{A}/set.json").unlink()
    server.boot("b1")
    assert server.driver(limit=1).judge_boot() is Act.NOTHING
    assert verdict(server)["outcome"] == "unknown"


def test_no_set_at_all_is_nothing_to_judge(server: Server) -> None:
    assert server.driver().judge_boot() is Act.NOTHING
    assert server.told == ["no driver set was ever installed here"]
