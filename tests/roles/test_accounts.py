"""Accounts: made once, and only what differs is changed."""

from pathlib import Path

from roles.ops.accounts import account
from tests.roles.here import Here, write_program

PASSWD = "dsops:x:997:997::/var/lib/dsops-door:/bin/sh"


def serve(folder: Path, *, passwd: str, groups: str) -> Here:
    write_program(folder, "getent", f"test -n '{passwd}' && echo '{passwd}'")
    write_program(folder, "id", f"echo {groups}")
    for name in ("useradd", "usermod"):
        write_program(folder, name, f'echo {name} "$@" >> {folder}/log')
    return Here(path=str(folder))


def test_an_account_that_is_missing_is_made_with_its_groups(tmp_path: Path) -> None:
    here = serve(tmp_path, passwd="", groups="")
    assert here.perform(account, user="dsops", home="/var/lib/dsops-door", shell="/bin/sh", groups=("a", "b"))
    said = "useradd --system --user-group --no-create-home -d /var/lib/dsops-door -s /bin/sh -G a,b dsops\n"
    assert (tmp_path / "log").read_text() == said


def test_an_account_that_is_as_wanted_is_left_alone_with_its_further_groups(tmp_path: Path) -> None:
    here = serve(tmp_path, passwd=PASSWD, groups="dsops adm systemd-journal")
    wanted = {"home": "/var/lib/dsops-door", "shell": "/bin/sh", "groups": ("systemd-journal",)}
    assert not here.perform(account, user="dsops", **wanted)


def test_only_what_differs_is_changed(tmp_path: Path) -> None:
    here = serve(tmp_path, passwd=PASSWD, groups="dsops")
    assert here.perform(account, user="dsops", home="/nonexistent", groups=("dsops-gateway",))
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["usermod -d /nonexistent -s /usr/sbin/nologin dsops", "usermod -a -G dsops-gateway dsops"]
