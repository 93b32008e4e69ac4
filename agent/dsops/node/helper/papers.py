"""The helper's part in what people leave for the agent: the baseline, and a maintenance with its end."""

from contextlib import suppress

from dsops.core.baseline import MOST_LETTERS, Baseline, make_numbers
from dsops.core.errors import DsopsError
from dsops.core.maintenance import MOST_SECONDS, Maintenance, parse_maintenance, render_time
from dsops.node.helper.asked import Answer, Asked
from dsops.node.helper.desk import Desk
from dsops.node.sources.papers import BASELINE, MAINTENANCE
from dsops.node.store.disk import on_disk

MOST_PATTERNS = 20


def freeze(desk: Desk, asked: Asked) -> Answer:
    """Keeps what is normal now. Whether all is well is asked at the door: the helper sees no findings."""
    note, request = asked.get_note(), asked.request
    numbers = make_numbers(request.get_list("numbers"), where="numbers")
    made = Baseline(desk.now(), note.who, note.reason, numbers, forced=request.get_flag("force"))
    desk.keep(BASELINE, made.to_json())
    return {"numbers": len(numbers), "at": made.at}


def maintain(desk: Desk, asked: Asked) -> Answer:
    """Begins a maintenance in the place of the one that goes on, or ends it."""
    request = asked.request
    if request.get_flag("end"):
        request.get_text("who")
        return {"until": None, "ended": _end(desk)}
    note, seconds = asked.get_note(), request.get_number("seconds")
    if not 0 < seconds <= MOST_SECONDS:
        mend = f"from 1 to {MOST_SECONDS} (7 days)"
        raise DsopsError(f"a maintenance of {seconds} s", where="seconds", mend=mend)
    patterns = request.get_list("checks") if "checks" in request.words else []
    for one in patterns:
        if not isinstance(one, str) or not 0 < len(one) <= MOST_LETTERS:
            raise DsopsError(f"{one!r} is no pattern of codes", where="checks", mend="such as gpu.*")
    if len(patterns) > MOST_PATTERNS:
        raise DsopsError(f"{len(patterns)} patterns, {MOST_PATTERNS} at most", where="checks")
    at = desk.now()
    made = Maintenance(note.reason, note.who, at, at + seconds, tuple(patterns))
    desk.keep(MAINTENANCE, made.to_json())
    return {"until": made.until, "says": made.describe()}


def _end(desk: Desk) -> str:
    """What was ended, in words. Raises DsopsError when there was none."""
    path = desk.config.root / MAINTENANCE
    with on_disk(path):
        try:
            text = path.read_bytes()
            desk.disk.unlink(path)
        except FileNotFoundError as error:
            raise DsopsError("there is no maintenance here to end", where="maintenance") from error
        desk.disk.sync_folder(path.parent)
    with suppress(DsopsError):
        was = parse_maintenance(text, where=str(path))
        return was.describe() if was.holds(desk.now()) else f"it ended by itself at {render_time(was.until)}"
    return "what could not be read"
