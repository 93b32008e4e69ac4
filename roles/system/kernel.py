"""Options on the kernel's command line: in GRUB's configuration now, in the kernel after a reboot that is asked for."""

import shlex
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, FunctionCommand, operation

from roles.ops.changes import tell
from roles.ops.files import FileState, Owner, config_file, render
from roles.ops.upgrade import refuse

HERE = Path(__file__).parent
DROP_IN = "/etc/default/grub.d/90-dsops.cfg"
GRUB = "/boot/grub/grub.cfg"
LOG = "/var/log/dsops-grub.log"
# Stays when an option is taken back: until the next reboot the kernel has it still.
GIVEN = "# Given so far: "
WHY = "kernel options changed (system_kernel_options)"
# Shell: the options that GRUB's first entry gives, and those of the running kernel, a line each.
OF_GRUB = f"sed -n 's/^[[:space:]]*linux[[:space:]]//p' {GRUB} | head -n 1 | tr ' ' '\\n'"
OF_KERNEL = "tr ' ' '\\n' < /proc/cmdline"
# Shell that succeeds when each option that dsops ever gave is in both of them or in neither.
LIVE = (
    f"(for o in $(sed -n 's/^{GIVEN}//p' {DROP_IN} 2>/dev/null); do"
    f' {OF_GRUB} | grep -qxF -- "$o"; a=$?; {OF_KERNEL} | grep -qxF -- "$o"; [ $a = $? ] || exit 1; done)'
)


@dataclass(frozen=True)
class BootState:
    """has_grub: there is a GRUB to configure. built: its configuration is newer than our part of it.

    given: options that our part names, those that were taken back too.
    """

    has_grub: bool = False
    built: bool = False
    given: tuple[str, ...] = ()


class BootFact(FactBase[BootState]):
    """What the boot loader's files say."""

    default = BootState

    def command(self) -> str:
        return (
            f"[ ! -f {GRUB} ] || ! command -v update-grub >/dev/null || echo grub;"
            f" [ ! {GRUB} -nt {DROP_IN} ] || echo built; sed -n 's/^{GIVEN}/given /p' {DROP_IN} 2>/dev/null || true"
        )

    def process(self, output: list[str]) -> BootState:
        given = next((line.split()[1:] for line in output if line.startswith("given ")), [])
        return BootState("grub" in output, "built" in output, tuple(given))


@operation()
def kernel_options(options: Sequence[str]) -> Generator[Any, None, None]:
    """Makes the next boot have these options besides the system's own; does not reboot.

    + options: such as `iommu=pt`; none takes those away that an earlier run gave
    """
    found, there = host.get_fact(BootFact), host.get_fact(FileState, path=DROP_IN)
    if not options and not there:
        host.noop("none asked for, none given")
        return
    if not found.has_grub:
        why = f"no GRUB here ({GRUB}, update-grub): give {' '.join(options)} to its boot loader by hand"
        tell("refused", "kernel options", why)
        yield FunctionCommand(refuse, (f"{why}, and leave system_kernel_options empty",), {})
        return
    content = render_drop_in(options, given=found.given)
    digest = sha256(content.encode()).hexdigest()
    if found.built and there == f"{digest} {Owner().text}":
        host.noop("GRUB has them")
        return
    tell("kernel options", DROP_IN, f"{' '.join(options) or 'none'}, live after a reboot that is asked for")
    yield f"rm -f {DROP_IN}.dsops-old; [ ! -f {DROP_IN} ] || cp -p {DROP_IN} {DROP_IN}.dsops-old"
    yield from config_file._inner(path=DROP_IN, content=content)
    yield render_update(options)


def render_drop_in(options: Sequence[str], *, given: Sequence[str]) -> str:
    """Our part of GRUB's settings. given: options of earlier runs."""
    ever = " ".join(sorted({*given, *options}))
    return render(HERE / "templates/grub.cfg.j2", options=options, given=f"{GIVEN}{ever}")


def render_update(options: Sequence[str]) -> str:
    """Shell that builds GRUB's configuration and looks whether every option is in it; else the older ones are back."""
    looks = [f"{OF_GRUB} | grep -qxF -- {shlex.quote(option)}" for option in options] or ["true"]
    missing = (
        f"{{ echo 'not all of the options are in {GRUB}; does another file below /etc/default set them?'; false; }}"
    )
    old = f"{DROP_IN}.dsops-old"
    return (
        f"{{ {{ update-grub && {{ {' && '.join(looks)} || {missing}; }}; }} > {LOG} 2>&1 && rm -f {old}; }}"
        f" || {{ tail -n 15 {LOG} >&2; rm -f {DROP_IN}; [ ! -f {old} ] || mv -f {old} {DROP_IN};"
        " update-grub >/dev/null 2>&1; exit 1; }"
    )
