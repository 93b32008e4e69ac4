"""Mistakes in what must last: the journal, the links, the blobs and releases, the lock."""

from tests.mutants.mutant import Mutant

JOURNAL, POINTERS = "agent/dsops/node/store/journal.py", "agent/dsops/node/store/pointers.py"
BLOBS, RELEASES = "agent/dsops/node/store/blobs.py", "agent/dsops/node/store/releases.py"
LOCK, DISK = "agent/dsops/node/store/lock.py", "agent/dsops/node/store/disk.py"
EFFECTS = "agent/dsops/node/helper/effects.py"

STORE = (
    Mutant(
        "a record is not made to last",
        JOURNAL,
        "            self._disk.fdatasync(fd)\n",
        "",
        ("cut activate",),
    ),
    Mutant(
        "a record's checksum is not compared",
        JOURNAL,
        '        is_whole = data.pop("sum") == _sum(data)\n',
        '        is_whole = bool(data.pop("sum"))\n',
        ("journal",),
    ),
    Mutant(
        "a record in a foreign place counts",
        JOURNAL,
        "    if record.seq % RECORDS != place:\n",
        "    if record.seq < 0:\n",
        ("journal",),
    ),
    Mutant(
        "the oldest record counts",
        JOURNAL,
        "key=lambda one: _guess_seq(one[1]), reverse=True)",
        "key=lambda one: _guess_seq(one[1]))",
        ("journal",),
    ),
    Mutant(
        "what could not be made to last stays",
        JOURNAL,
        "                self._blank(seq)\n",
        "                pass\n",
        ("journal",),
    ),
    Mutant(
        "one place that fails is the end",
        JOURNAL,
        "TRIES = 3\n",
        "TRIES = 1\n",
        ("journal", "errors"),
    ),
    Mutant(
        "a journal of another size is taken as it is",
        JOURNAL,
        "return self._path.is_file() and self._path.stat().st_size == RECORDS * SIZE",
        "return self._path.is_file()",
        ("journal",),
    ),
    Mutant(
        "turned lanes are not made to last",
        POINTERS,
        '            self._turn(folder / lane, f"../slots/{slot}")\n'
        "        with on_disk(folder):\n            self._disk.sync_folder(folder)\n",
        '            self._turn(folder / lane, f"../slots/{slot}")\n',
        ("cut switch",),
    ),
    Mutant(
        "a slot's link is not made to last",
        POINTERS,
        "        with on_disk(path):\n            self._disk.sync_folder(path.parent)\n",
        "",
        ("cut activate",),
    ),
    Mutant(
        "a link goes before the new one comes",
        POINTERS,
        "        self._disk.rename(new, path)\n",
        "        if path.is_symlink():\n            self._disk.unlink(path)\n        self._disk.rename(new, path)\n",
        ("cut activate", "cut switch"),
    ),
    Mutant(
        "a full disk turns no link",
        POINTERS,
        "            self._drop_ballast()\n",
        "            raise tell_os_error(error, where=path) from error\n",
        ("errors", "shares"),
    ),
    Mutant(
        "a lane that somebody turned stays so",
        POINTERS,
        "            if lanes.get(lane) != slot\n",
        "            if lanes.get(lane, slot) != slot and not slot\n",
        ("helper", "shares"),
    ),
    Mutant(
        "a blob is what its name says, unread",
        BLOBS,
        "        if self._hash(fd) != digest:\n",
        "        if not digest:\n",
        ("helper",),
    ),
    Mutant(
        "a blob gets its name before its mode lasts",
        BLOBS,
        "        self._disk.chmod(fd, 0o444)\n        self._disk.fsync(fd)\n",
        "        self._disk.chmod(fd, 0o444)\n",
        ("cut receive",),
    ),
    Mutant(
        "a release's manifest is not compared with its name",
        RELEASES,
        "        if release_id(manifest) != release:\n",
        "        if not manifest:\n",
        ("helper",),
    ),
    Mutant(
        "two hold the lock",
        LOCK,
        "            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)\n",
        ("helper", "journal"),
    ),
    Mutant(
        "a new small file is not made to last",
        DISK,
        "            self.chmod(fd, mode)\n            self.fsync(fd)\n",
        "            self.chmod(fd, mode)\n",
        ("cut begin", "cut admit"),
    ),
    Mutant(
        "a folder's names are not made to last",
        DISK,
        "        with self.opened(path, os.O_RDONLY | os.O_DIRECTORY) as fd:\n            self.fsync(fd)\n",
        "        with self.opened(path, os.O_RDONLY | os.O_DIRECTORY):\n            pass\n",
        ("cut begin",),
    ),
    Mutant(
        "a slot that must start is not asked to",
        EFFECTS,
        '        self._get("restart", "--no-block", unit)\n\n    def _stop',
        "\n    def _stop",
        ("helper",),
    ),
)
