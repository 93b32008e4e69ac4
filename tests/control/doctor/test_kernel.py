"""The kernel: newest or not, what it suffered, who asks for a reboot, Secure Boot."""

from dataclasses import replace

from dsops.control.doctor.answer import read_answer
from dsops.control.doctor.finding import Status
from dsops.control.doctor.kernel import Kernel, find_newest, judge_boot, judge_kernel, judge_reboot, read_kernel

SAID = """sys=/proc/sys/kernel/osrelease\t6.1.0-9-amd64
kernel.installed=6.1.0-18-amd64
kernel.installed=6.1.0-9-amd64
kernel.installed=6.6.13-rt-amd64x
virt=none
firmware=uefi
secure boot=on
reboot=yes
sys=/proc/sys/kernel/tainted\t12432
sys=/proc/cmdline\tBOOT_IMAGE=/vmlinuz ro quiet
sys=/run/reboot-required.pkgs\tlinux-image-6.1.0-18-amd64
sys=/run/reboot-required.pkgs\tdbus
sys=/run/dsops-reboot/system\thugepages changed
"""
KERNEL = read_kernel(read_answer(SAID))


def test_what_a_server_says_is_read() -> None:
    assert (KERNEL.release, KERNEL.virtual, KERNEL.firmware, KERNEL.secure_boot) == (
        "6.1.0-9-amd64",
        "none",
        "uefi",
        "on",
    )
    assert KERNEL.asked == (("the system", "dbus, linux-image-6.1.0-18-amd64"), ("role system", "hugepages changed"))
    assert (KERNEL.taint, KERNEL.command_line) == (12432, "BOOT_IMAGE=/vmlinuz ro quiet")


def test_a_newer_kernel_of_the_same_flavour_means_that_a_reboot_is_due() -> None:
    assert find_newest(KERNEL) == "6.1.0-18-amd64"
    due = judge_kernel("gpu1", replace(KERNEL, taint=0))
    assert [(f.status, f.what) for f in due] == [
        (Status.WARNING, "runs 6.1.0-9-amd64, and 6.1.0-18-amd64 is installed: a reboot is due")
    ]
    (newest,) = judge_kernel("gpu1", replace(KERNEL, taint=0, release="6.1.0-18-amd64"))
    assert (newest.status, newest.what) == (Status.OK, "6.1.0-18-amd64, the newest that is installed")


def test_damage_is_told_and_nvidias_own_marks_are_not() -> None:
    (found,) = judge_kernel("gpu1", Kernel("6.1", taint=12432))
    assert found.what == "the kernel is tainted since its boot: the processor reported a machine check, " + (
        "the kernel died once (oops) (taint 12432)"
    )
    proprietary, unsigned, external, warned = 1, 1 << 13, 1 << 12, 1 << 9
    (found,) = judge_kernel("gpu1", Kernel("6.1", taint=proprietary | unsigned | external | warned))
    assert (found.status, found.what) == (Status.OK, "6.1")


def test_a_containers_kernel_is_its_hosts() -> None:
    (found,) = judge_kernel("gpu1", replace(KERNEL, virtual="systemd-nspawn"))
    assert (found.status, "container" in found.what) == (Status.SKIPPED, True)
    assert judge_boot("gpu1", replace(KERNEL, virtual="lxc"), has_gpus=True, has_driver=False) == []


def test_a_reboot_names_who_asks_and_why() -> None:
    (found,) = judge_reboot("gpu1", KERNEL)
    assert found.status is Status.WARNING
    assert "the system (dbus, linux-image-6.1.0-18-amd64), role system (hugepages changed)" in found.what
    assert judge_reboot("gpu1", Kernel("6.1"))[0].status is Status.OK


def test_secure_boot_matters_while_the_gpus_have_no_driver() -> None:
    def judge(kernel: Kernel, *, has_driver: bool) -> Status:
        (found,) = judge_boot("gpu1", kernel, has_gpus=True, has_driver=has_driver)
        return found.status

    assert judge(KERNEL, has_driver=False) is Status.WARNING
    assert judge(KERNEL, has_driver=True) is Status.OK
    assert judge(replace(KERNEL, secure_boot="off"), has_driver=False) is Status.OK
    assert judge(replace(KERNEL, secure_boot="unknown"), has_driver=False) is Status.SKIPPED
    assert judge(replace(KERNEL, firmware="bios"), has_driver=False) is Status.OK
