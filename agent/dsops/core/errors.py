"""The one expected error of dsops: what went wrong, where, and how to mend it."""


class DsopsError(Exception):
    """An expected failure. Libraries raise it; only the command's main prints it and exits.

    what:  one sentence without a full stop
    where: file, host or key that it is about ("" when there is none)
    mend:  the next thing to do, as a command where there is one ("" when nothing helps)
    """

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what = what
        self.where = where
        self.mend = mend
        super().__init__(f"{where}: {what}" if where else what)
