"""The state that a run left on a server, as text of which the bench compares the hash."""

from hashlib import sha256

from dsops.lab.place import Server

from tests.bench.converge.place import Place, enter

# All of /etc and what the bench puts elsewhere; not what changes by itself, and not the accounts' files (order and
# numbers are not the state; who is there is listed for itself).
SCRIPT = r"""
export LC_ALL=C
echo "# packages"; dpkg-query -W -f='${Package} ${Version} ${db:Status-Status}\n'
echo "# accounts"; getent passwd | while IFS=: read -r name _ _ _ _ home shell; do
  echo "$name $home $shell $(id -Gn "$name" | tr ' ' '\n' | sort | tr '\n' ' ')"; done | sort
echo "# files"
find /etc /opt/site /srv/site /var/log/site /var/lib/dsops/bundle/apt \
  ! -path '/etc/passwd*' ! -path '/etc/shadow*' ! -path '/etc/group*' ! -path '/etc/gshadow*' ! -path '/etc/sub?id*' \
  ! -path '/etc/.pwd.lock' ! -path /etc/ld.so.cache ! -path /etc/machine-id ! -path /etc/hostname \
  ! -path '/etc/ssh/ssh_host_*' ! -name .dsops-sums ! -path /etc/systemd/network/10-lab.network \
  \( -type f -printf '%p %m %u:%g ' -exec sh -c 'sha256sum < "$1"' _ {} \; \
     -o -type l -printf '%p -> %l\n' -o -printf '%p/ %m %u:%g\n' \) | sort
echo "# units"
for unit in site-web.service site-worker.service site-tidy.timer systemd-journald.service; do
  systemctl show -p ActiveState,UnitFileState,NeedDaemonReload --value "$unit" | tr '\n' ' '; echo "$unit"; done
echo "# kernel"; cd /proc/sys/net/ipv4; grep -H . tcp_syncookies ip_local_port_range | tr -s '\t' ' '
"""

# What somebody or something did to one server: each is mended by all three.
DRIFT = r"""
set -e
echo '# by hand' >> /etc/site/site.conf
chmod 666 /etc/site/secret
chown nobody /var/log/site
rmdir /srv/site/data
rm /etc/site/conf.d/cache.conf
ln -sfn conf.d/log.conf /etc/site/current.conf
gpasswd -d site-backup adm >/dev/null
systemctl stop site-worker.service
dpkg -r tree >/dev/null
echo 'MaxLevelStore=debug' >> /etc/systemd/journald.conf.d/90-site.conf
"""


def read_end(place: Place, server: Server) -> str:
    """The state as text."""
    return enter(place, server, SCRIPT)


def hash_end(text: str) -> str:
    """Twelve hex digits that stand for it."""
    return sha256(text.encode()).hexdigest()[:12]


def drift(place: Place, server: Server) -> None:
    """Changes ten things on a server."""
    enter(place, server, DRIFT)


def find_differences(one: str, other: str) -> list[str]:
    """Lines that only one of two states has."""
    left, right = set(one.splitlines()), set(other.splitlines())
    return [f"- {line}" for line in sorted(left - right)] + [f"+ {line}" for line in sorted(right - left)]
