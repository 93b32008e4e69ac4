"""System: what the files say, what is mended when somebody turned it by hand, and what is refused."""

import re
import subprocess
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import DeployError

from roles.ops.sysctl import SysctlValues, parse_sysctl, render_set, sysctl
from roles.ops.systems import get_system
from roles.system.defaults import HELD, SystemTuning
from roles.system.deploy import find_problem, render_sysctl, render_tuning, render_upgrades
from roles.system.kernel import GIVEN, BootFact, BootState, kernel_options, render_drop_in, render_update
from roles.system.knobs import GOVERNOR, TRANSPARENT, KnobValues, find_knobs, knobs, parse_choice
from roles.system.manager import ManagerValues, manager
from tests.roles.bundle import fake_data
from tests.roles.here import CommandFailed, Here, write_program
from tests.roles.test_roles import commands

ROLE = Path(__file__).parents[2] / "roles/system"


class Answering(Here):
    """A server that answers facts as told, by their class, and does nothing."""

    def __init__(self, **answers: Any) -> None:
        super().__init__()
        self.answers = answers

    def get_fact(self, kind: type[Any], **arguments: Any) -> Any:
        return self.answers[kind.__name__]

    def _run(self, command: Any) -> None:
        if hasattr(command, "function") and command.function.__name__ == "refuse":
            super()._run(command)
        self.ran.append(str(command))


def answers(folder: Path, more: dict[str, str]) -> dict[Any, Any]:
    """What a server that is not there answers, and this too."""
    return fake_data(folder, folder)["fake_responses"] | more


# sysctl.


def test_a_file_for_sysctl_is_read_as_systemd_reads_it() -> None:
    text = "# a reason\n; another\nvm.swappiness=10\n-net/core/rmem_max = 1\nnet.ipv4.tcp_rmem = 1\t2   3\n"
    assert parse_sysctl(text) == {"vm.swappiness": "10", "net.core.rmem_max": "1", "net.ipv4.tcp_rmem": "1 2 3"}


def test_every_parameter_stands_below_its_reason() -> None:
    lines = render_sysctl(SystemTuning(system_sysctl=("vm.max_map_count = 5",))).splitlines()
    for before, line in pairwise(lines):
        assert not re.match("[a-z]", line) or before, f"{line} follows an empty line"
    assert lines[-2:] == ["# From the inventory (system_sysctl).", "vm.max_map_count = 5"]


def test_a_parameter_from_the_inventory_replaces_ours() -> None:
    said = SystemTuning(system_sysctl=("vm.max_map_count = 5", "net.core.busy_poll=50"))
    wanted = parse_sysctl(render_sysctl(said))
    assert wanted["vm.max_map_count"] == "5"
    assert wanted["net.core.busy_poll"] == "50"


def test_what_the_kernel_says_is_compared_word_by_word() -> None:
    found = SysctlValues().process(["net.ipv4.tcp_rmem=4096\t131072\t6291456", "vm.swappiness=60"])
    assert found == {"net.ipv4.tcp_rmem": "4096 131072 6291456", "vm.swappiness": "60"}
    server = Answering(SysctlValues=found)
    assert not server.perform(sysctl, wanted={"net.ipv4.tcp_rmem": "4096 131072 6291456", "vm.swappiness": "60"})


def test_only_what_differs_is_set_and_what_is_absent_is_left_out() -> None:
    server = Answering(SysctlValues={"kernel.panic": "0", "vm.dirty_bytes": "5"})
    wanted = {"kernel.panic": "30", "vm.dirty_bytes": "5", "kernel.numa_balancing": "0"}
    assert server.perform(sysctl, wanted=wanted)
    assert len(server.ran) == 1
    assert "echo 30 > /proc/sys/kernel/panic" in server.ran[0]


def test_what_this_kernel_has_is_found_and_what_it_has_not_is_missing() -> None:
    found = Here().get_fact(SysctlValues, keys=["kernel.panic", "kernel.no_such_thing"])
    assert set(found) <= {"kernel.panic"}


def test_a_kernel_that_gives_less_than_it_was_asked_for_is_a_failure(tmp_path: Path) -> None:
    pages = tmp_path / "nr_hugepages"
    command = render_set("vm.nr_hugepages", "4000").replace("/proc/sys/vm/nr_hugepages", str(pages))
    assert Here().sh(command).returncode == 0
    pages.write_text("16\n")
    # As the kernel does: of what is written only a part is there when it is read.
    write_program(tmp_path / "bin", "cat", "sed s/4000/712/ $1")
    done = Here(path=str(tmp_path / "bin")).sh(command)
    assert done.returncode == 1
    assert done.stderr == "vm.nr_hugepages: asked for 4000, the kernel gives 712; it has 16 again\n"
    assert pages.read_text() == "16\n"


def test_a_value_that_the_kernel_refuses_is_not_there_at_the_next_boot(tmp_path: Path) -> None:
    said = commands("system", tmp_path, fake_responses=answers(tmp_path, {"for p in vm.": "vm.nr_hugepages=7"}))
    live = next(i for i, line in enumerate(said) if "echo 0 > /proc/sys/vm/nr_hugepages" in line)
    file = next(i for i, line in enumerate(said) if "cat > /etc/sysctl.d/90-dsops.conf" in line)
    assert live < file


# /sys.


def test_the_chosen_word_is_read() -> None:
    assert parse_choice("always [madvise] never") == "madvise"
    assert parse_choice("performance") == "performance"


def test_settings_that_the_inventory_leaves_empty_are_left_alone() -> None:
    said = SystemTuning(system_governor="")
    assert find_knobs(said) == {TRANSPARENT: "madvise"}
    lines = [line for line in render_tuning(said).splitlines() if not line.startswith("#")]
    assert lines == ["w /sys/kernel/mm/transparent_hugepage/enabled - - - - madvise"]


def test_one_cpu_that_differs_is_enough_to_set_all_again(tmp_path: Path) -> None:
    for number, governor in enumerate(("performance", "powersave")):
        (tmp_path / f"cpu{number}").mkdir()
        (tmp_path / f"cpu{number}/scaling_governor").write_text(f"{governor}\n")
    path = f"{tmp_path}/cpu*/scaling_governor"
    found = Here().get_fact(KnobValues, paths=[path, f"{tmp_path}/none"])
    assert found == {path: ("performance", "powersave")}
    server = Answering(KnobValues=found)
    assert server.perform(knobs, wanted={path: "performance"})
    assert "systemctl restart dsops-tuning.service" in server.ran[0]


def test_a_machine_without_cpufreq_is_left_as_it_is() -> None:
    server = Answering(KnobValues={TRANSPARENT: ("madvise",)})
    assert not server.perform(knobs, wanted={TRANSPARENT: "madvise", GOVERNOR: "performance"})


# systemd.


def test_systemd_reads_its_settings_again_only_when_it_has_others() -> None:
    found = ManagerValues().process(["DefaultLimitMEMLOCK=8388608"])
    server = Answering(ManagerValues=found)
    assert server.perform(manager, wanted={"DefaultLimitMEMLOCK": "infinity"})
    assert server.ran == ["systemctl daemon-reexec"]
    settled = Answering(ManagerValues={"DefaultLimitMEMLOCK": "infinity"})
    assert not settled.perform(manager, wanted={"DefaultLimitMEMLOCK": "infinity"})


# The kernel's command line.


def digest(text: str) -> str:
    return Here().sh(f"printf %s '{text}' | sha256sum | cut -c1-64").stdout.strip() + " 644 root root"


def test_grub_gets_the_options_beside_the_systems_own() -> None:
    server = Answering(BootFact=BootState(has_grub=True), FileState="")
    server.perform(kernel_options, options=["iommu=pt", "hugepagesz=1G"])
    assert "update-grub" in server.ran[-1]
    text = render_drop_in(["iommu=pt", "hugepagesz=1G"], given=())
    assert 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT iommu=pt hugepagesz=1G"\n' in text
    assert f"{GIVEN}hugepagesz=1G iommu=pt\n" in text


def test_options_that_grub_has_are_not_given_again_unless_a_run_was_cut_before_it_was_built() -> None:
    there = digest(render_drop_in(["iommu=pt"], given=["iommu=pt"]).replace("'", "'\\''"))
    built = BootState(has_grub=True, built=True, given=("iommu=pt",))
    assert not Answering(BootFact=built, FileState=there).perform(kernel_options, options=["iommu=pt"])
    cut = BootState(has_grub=True, built=False, given=("iommu=pt",))
    assert Answering(BootFact=cut, FileState=there).perform(kernel_options, options=["iommu=pt"])


def test_an_option_that_is_taken_back_is_remembered_until_the_kernel_has_lost_it() -> None:
    text = render_drop_in([], given=["iommu=pt"])
    assert "GRUB_CMDLINE_LINUX_DEFAULT=" not in text
    assert f"{GIVEN}iommu=pt\n" in text
    assert BootFact().process(["grub", "built", "given iommu=pt"]) == BootState(True, True, ("iommu=pt",))


def test_no_options_and_no_grub_is_nothing_to_do() -> None:
    assert not Answering(BootFact=BootState(), FileState="").perform(kernel_options, options=[])


def test_options_without_grub_are_refused() -> None:
    server = Answering(BootFact=BootState(), FileState="")
    with pytest.raises(CommandFailed):
        server.perform(kernel_options, options=["iommu=pt"])
    assert server.ran == ["refuse"]


def test_options_that_another_file_undoes_are_a_failure_and_the_older_ones_are_back(tmp_path: Path) -> None:
    part, grub = tmp_path / "90-dsops.cfg", tmp_path / "grub.cfg"
    part.write_text("new")
    (tmp_path / "90-dsops.cfg.dsops-old").write_text("old")
    grub.write_text("menuentry {\n\tlinux\t/boot/vmlinuz root=UUID=1 ro quiet\n}\n")
    write_program(tmp_path / "bin", "update-grub", "exit 0")
    command = render_update(["iommu=pt"]).replace("/etc/default/grub.d/90-dsops.cfg", str(part))
    command = command.replace("/boot/grub/grub.cfg", str(grub)).replace("/var/log/dsops-grub.log", f"{tmp_path}/log")
    server = Here(path=str(tmp_path / "bin"))
    done = server.sh(command)
    assert done.returncode == 1
    assert "not all of the options are in" in done.stderr
    assert part.read_text() == "old"
    grub.write_text(grub.read_text().replace("quiet", "quiet iommu=pt"))
    assert server.sh(command).returncode == 0


# What must not change by itself.


@pytest.mark.parametrize(
    ("package", "held"),
    [
        ("linux-image-6.1.0-56-amd64", True),
        ("linux-generic-hwe-22.04", True),
        ("nvidia-driver-580", True),
        ("libnvidia-compute-580", True),
        ("libnccl2", True),
        ("linux-libc-dev", False),
        ("openssl", False),
        ("libssl3", False),
    ],
)
def test_kernel_and_driver_are_held_and_the_rest_is_the_sites(package: str, held: bool) -> None:
    assert any(re.match(pattern, package) for pattern in HELD) == held


@pytest.mark.parametrize(("name", "version"), [("debian", "12"), ("ubuntu", "22.04"), ("ubuntu", "24.04")])
def test_what_the_roles_installed_is_held_but_python(name: str, version: str) -> None:
    text = upgrades(name, version)
    assert '"^nginx$";' in text
    assert '"^chrony$";' in text
    assert "python" not in text


def upgrades(name: str = "debian", version: str = "12") -> str:
    """The file as a server of this system gets it."""
    return render_upgrades(SystemTuning(), get_system({"ID": name, "VERSION_ID": version}, where="here"))


def test_apt_understands_the_file_and_adds_to_a_list_of_the_sites(tmp_path: Path) -> None:
    site = 'Unattended-Upgrade::Package-Blacklist { "^postgres"; };\nUnattended-Upgrade::Automatic-Reboot "true";\n'
    (tmp_path / "both").write_text(site + upgrades())
    done = subprocess.run(
        ["apt-config", "dump", "Unattended-Upgrade"],
        env={"APT_CONFIG": str(tmp_path / "both"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert 'Blacklist:: "^postgres";' in done.stdout
    assert all(f'Blacklist:: "{pattern}";' in done.stdout for pattern in HELD)
    assert done.stdout.rstrip().endswith('Automatic-Reboot "false";')


def test_perl_understands_the_file_for_needrestart() -> None:
    script = "our %nrconf; local $/; eval <STDIN>; die $@ if $@; $d = $nrconf{override_rc};"
    script += ' for $u (@ARGV) { print "$u\\n" for grep { $u =~ /$_/ && !$d->{$_} } keys %$d }'
    units = ["nginx.service", "triton@a.service", "dsops-agent.service", "ssh.service"]
    text = (ROLE / "templates/needrestart.conf").read_text()
    done = subprocess.run(
        ["perl", "-e", script, *units], input=text, capture_output=True, text=True, check=False, timeout=20
    )
    assert (done.stderr, done.stdout.split()) == ("", units[:3])


# The role on servers that are not there.


def test_a_container_gets_what_is_its_own_and_no_knob_of_its_hosts_kernel(tmp_path: Path) -> None:
    said = answers(tmp_path, {"systemd-detect-virt": "yes"})
    text = "\n".join(commands("system", tmp_path, fake_responses=said))
    assert "/proc/sys/net/core/rmem_max" in text
    assert "/proc/sys/vm" not in text
    assert "dsops-tuning" not in text
    assert "grub" not in text
    assert "journald" in text


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("system_sysctl", ["nonsense"], "should be lines of `key = value`, has 'nonsense'"),
        ("system_sysctl", ["vm.swappiness = 1"], "vm.swappiness: say it as swap_swappiness"),
        ("system_sysctl", ["vm.dirty_ratio = 5"], "the kernel then forgets vm.dirty_bytes"),
        ("system_kernel_options", ["a b"], "should be options without blanks and quotes, has 'a b'"),
        ("system_kernel_options", ["$(reboot)"], "should be options without blanks and quotes"),
        ("system_held_packages", ['"'], "should be regular expressions without quotes"),
        ("system_transparent_hugepages", "sometimes", "should be madvise, always or never, is 'sometimes'"),
        ("system_governor", "fast; reboot", "should be a word such as performance"),
        ("system_hugepages", -1, "should be 0 or more, is -1"),
        ("system_journal_gb", 0, "should be 1 or more, is 0"),
        ("system_journal_days", 0, "should be 1 or more, is 0"),
    ],
)
def test_a_wrong_setting_is_refused_before_any_change(tmp_path: Path, key: str, value: object, words: str) -> None:
    with pytest.raises(DeployError, match=re.escape(words)):
        commands("system", tmp_path, **{key: value})


def test_the_defaults_are_sound() -> None:
    assert find_problem(SystemTuning()) == ""
    assert all(field.name.startswith("system_") for field in fields(SystemTuning))
