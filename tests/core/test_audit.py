"""The audit chain: whatever is done to it after it was written is found, and said with its place."""

import json
import random
from collections.abc import Callable

import pytest
from dsops.core.audit import (
    START,
    Act,
    Head,
    Kind,
    Line,
    Report,
    find_end,
    parse_head,
    parse_line,
    render_line,
    render_report,
    seal_of,
    split_lines,
    verify,
)
from dsops.core.errors import DsopsError
from dsops.core.state import Epoch

R1, R2 = "r" + "1" * 12, "r" + "2" * 12
Lines = list[bytes]


def act(number: int = 0, **words: object) -> Act:
    told = Act(1_700_000_000.25 + number, Kind.STEP, "activate", "kim", f"reason {number}", "gpu1", R1, R2, "8 of 8")
    return Act(**{**vars(told), "epoch": Epoch(7, "control"), "seq": number, **words})  # type: ignore[arg-type]


def make_chain(count: int, *, after: Head | None = None) -> tuple[bytes, Head]:
    head, data = after or Head(), b""
    for number in range(1, count + 1):
        line, head = render_line(act(number), after=head)
        data += line
    return data, head


def look(data: bytes, *anchors: Head) -> Report:
    return verify(split_lines(data, name="audit"), anchors=anchors)


def says(data: bytes, *anchors: Head) -> list[str]:
    return [f"{flaw.where}: {flaw.what}" for flaw in look(data, *anchors).flaws]


def join(lines: Lines) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def forge(line: bytes, **changes: object) -> bytes:
    """The line with other words and a hash that fits them."""
    data = json.loads(line) | changes
    data.pop("hash")
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return b'%b,"hash":"%b"}' % (body[:-1], seal_of(data["previous"], body).encode())


def test_a_line_is_json_and_says_all_that_was_told() -> None:
    line, head = render_line(act(3), after=Head(4, "a" * 64))
    data = json.loads(line)
    assert (data["who"], data["why"], data["verb"], data["from"], data["to"]) == ("kim", "reason 3", "activate", R1, R2)
    assert (data["number"], data["previous"], data["hash"]) == (5, "a" * 64, head.hash)
    assert (data["epoch"], data["holder"], data["node"], data["evidence"]) == (7, "control", "gpu1", "8 of 8")
    entry = parse_line(line[:-1])
    assert (entry.head, entry.act) == (head, act(3))


def test_the_hash_is_that_of_the_line_before_and_the_line() -> None:
    (first, second) = make_chain(2)[0].splitlines()
    body = second[: second.rindex(b',"hash"')] + b"}"
    assert json.loads(second)["previous"] == json.loads(first)["hash"]
    assert json.loads(second)["hash"] == seal_of(json.loads(first)["hash"], body)


def test_words_that_would_break_a_line_do_not() -> None:
    ill = act(
        1, why='a "quote"\n\x00\x1b[31m\ud800 \u2028 end', who="x" * 5000, evidence="é" * 5000, head=Head(3, START)
    )
    line, head = render_line(ill, after=Head())
    entry = parse_line(line[:-1])
    assert line.count(b"\n") == 1
    assert entry.act.why == 'a "quote"   [31m    end'
    assert len(line) < 6000
    assert entry.act.head == Head(3, START)
    assert look(line).head == head


def test_a_whole_chain_is_whole_and_says_how_long_it_is() -> None:
    data, head = make_chain(20)
    found = look(data, head, Head(7, json.loads(data.splitlines()[6])["hash"]))
    assert (found.entries, found.first, found.head, found.flaws) == (20, 1, head, ())
    assert (found.since, found.until) == (act(1).at, act(20).at)
    assert (render_report(found), render_report(look(b""))) == ("whole", "empty")


def test_each_kind_of_harm_is_said_in_its_own_words_with_its_place() -> None:
    data, head = make_chain(9)
    lines = data.splitlines()
    other = make_chain(9, after=Head(0, "b" * 64))[0].splitlines()
    altered, forged = lines[3].replace(b"kim", b"tim"), forge(lines[3], who="tim")
    cases: dict[str, tuple[Lines, Head]] = {
        "audit:4: entry 4 was altered after it was written": ([*lines[:3], altered, *lines[4:]], head),
        "audit:5: entry 5 follows another entry 4 than the one that is there": ([*lines[:3], forged, *lines[4:]], head),
        "audit:4: entry 4 is missing before this line": ([*lines[:3], *lines[4:]], head),
        "audit:4: entries 4 to 6 are missing before this line": ([*lines[:3], *lines[6:]], head),
        "audit:6: the end was cut off: the chain ends at entry 6, and the control host saw entry 9": (lines[:6], head),
        "the end: the end was cut off: there is no entry at all, and the control host saw entry 9": ([], head),
        "the beginning: entries 1 to 2 are missing, and no entry tells that they went": (lines[2:], head),
        "audit:5: entry 4 is there a second time": ([*lines[:4], lines[3], *lines[4:]], head),
        "audit:6: entry 5 is there a second time, with other words": ([*lines[:5], other[4], *lines[5:]], head),
        "audit:4: entry 4 stands elsewhere before this line": ([*lines[:3], lines[4], lines[3], *lines[5:]], head),
        "audit:3: is no entry of an audit chain": ([*lines[:2], b"hello", *lines[2:]], head),
        "audit:1: entry 1 is no beginning of a chain": (other, parse_line(other[-1]).head),
        "audit:9: entry 9 is another one than the control host saw: it was written anew": (other, head),
    }  # fmt: skip
    for words, (harmed, anchor) in cases.items():
        assert words in says(join(harmed), anchor)
    assert (
        says(data[:-1], head)[0]
        == f"audit:9: the last line has no end ({len(lines[8])} bytes): a power cut, or it was cut"
    )


def test_a_chain_written_anew_is_found_by_any_one_anchor_and_by_nothing_else() -> None:
    data, _ = make_chain(30)
    lines = data.splitlines()
    head, anew = parse_line(lines[9]).head, lines[:10]
    for line in lines[10:]:
        told = parse_line(line).act
        text, head = render_line(Act(**{**vars(told), "who": "nobody"}), after=head)
        anew.append(text[:-1])
    assert look(join(anew)).is_whole, "an honest limit: docs/audit.md says so"
    assert look(join(anew), parse_line(lines[9]).head).is_whole
    for line in lines[10:]:
        assert not look(join(anew), parse_line(line).head).is_whole


def test_two_anchors_that_disagree_cannot_both_be_met() -> None:
    data, head = make_chain(3)
    assert not look(data, head, Head(3, "c" * 64)).is_whole


def test_old_entries_may_go_when_the_chain_says_so() -> None:
    data, head = make_chain(9)
    gone = parse_line(data.splitlines()[3]).head
    tells, head = render_line(Act(1.0, Kind.CHAIN, "remove", head=gone), after=head)
    rest = join(data.splitlines()[4:]) + tells
    assert look(rest, head).is_whole
    assert look(rest, head).first == 5
    assert says(join(rest.splitlines()[1:]), head) == [
        "the beginning: entries 1 to 5 are missing, and no entry tells that they went"
    ]


# --- whatever is done, it is found ------------------------------------------------------------------------------


def edit(lines: Lines, dice: random.Random) -> Lines:
    """One byte becomes another."""
    place = dice.randrange(len(lines))
    text = bytearray(lines[place])
    at = dice.randrange(len(text))
    text[at] = dice.choice([byte for byte in range(256) if byte != text[at]])
    return [*lines[:place], bytes(text), *lines[place + 1 :]]


def edit_with_its_hash(lines: Lines, dice: random.Random) -> Lines:
    """Other words, and a hash that fits them."""
    place = dice.randrange(len(lines))
    key = dice.choice(["who", "why", "to", "evidence", "verb", "holder", "node", "from"])
    return [*lines[:place], forge(lines[place], **{key: f"x{dice.random()}"}), *lines[place + 1 :]]


def write_anew(lines: Lines, dice: random.Random) -> Lines:
    """Other words, and every line after it bound anew."""
    place = dice.randrange(len(lines))
    head = parse_line(lines[place - 1]).head if place else Head()
    anew = lines[:place]
    for number, line in enumerate(lines[place:]):
        told = parse_line(line).act
        text, head = render_line(Act(**{**vars(told), "who": "nobody"}) if number == 0 else told, after=head)
        anew.append(text[:-1])
    return anew


def cut_middle(lines: Lines, dice: random.Random) -> Lines:
    start = dice.randrange(len(lines) - 1)
    return [*lines[:start], *lines[dice.randint(start + 1, len(lines) - 1) :]]


def cut_end(lines: Lines, dice: random.Random) -> Lines:
    return lines[: dice.randrange(len(lines))]


def swap(lines: Lines, dice: random.Random) -> Lines:
    one, two = dice.sample(range(len(lines)), 2)
    mixed = list(lines)
    mixed[one], mixed[two] = lines[two], lines[one]
    return mixed


def move(lines: Lines, dice: random.Random) -> Lines:
    one, two = dice.sample(range(len(lines)), 2)
    mixed = list(lines)
    mixed.insert(two, mixed.pop(one))
    return mixed


def repeat(lines: Lines, dice: random.Random) -> Lines:
    mixed = list(lines)
    mixed.insert(dice.randint(0, len(lines)), dice.choice(lines))
    return mixed


def add_foreign(lines: Lines, dice: random.Random) -> Lines:
    foreign = dice.choice([b"", b"x", b"{}", b"\xff\xfe", b"[1]", b'{"number":1}', make_chain(1)[0][:-1] + b" "])
    mixed = list(lines)
    mixed.insert(dice.randint(0, len(lines)), foreign)
    return mixed


def add_forged(lines: Lines, dice: random.Random) -> Lines:
    """A new line that fits the one before it; those after it keep what they are."""
    place = dice.randrange(len(lines) - 1)
    text, _ = render_line(act(99), after=parse_line(lines[place]).head)
    return [*lines[: place + 1], text[:-1], *lines[place + 1 :]]


HARMS: list[Callable[[Lines, random.Random], Lines]] = [
    edit,
    edit_with_its_hash,
    write_anew,
    cut_middle,
    cut_end,
    swap,
    move,
    repeat,
    add_foreign,
    add_forged,
]


def test_a_thousand_of_a_thousand_harms_are_found() -> None:
    data, head = make_chain(24)
    lines = data.splitlines()
    found = 0
    for seed in range(1000):
        dice = random.Random(seed)
        harm = HARMS[seed % len(HARMS)]
        harmed = harm(lines, dice)
        assert harmed != lines
        assert not look(join(harmed), head).is_whole, f"seed {seed}: {harm.__name__} was not found"
        found += 1
    assert found == 1000


def test_every_byte_matters_and_a_cut_at_every_byte_is_found() -> None:
    data, head = make_chain(3)
    for place in range(len(data)):
        harmed = bytearray(data)
        harmed[place] ^= 1
        assert not look(bytes(harmed), head).is_whole
        assert not look(data[:place], head).is_whole


# --- going on ---------------------------------------------------------------------------------------------------


def test_the_next_line_follows_the_last_one_whatever_was_torn() -> None:
    data, head = make_chain(5)
    assert find_end(data) == find_end(data[:0] + data)
    assert (find_end(data).head, find_end(data).size, find_end(data).torn) == (head, len(data), b"")
    fourth = parse_line(data.splitlines()[3]).head
    start = len(join(data.splitlines()[:4]))
    for cut in range(start + 1, len(data)):
        end = find_end(data[:cut])
        assert (end.head, end.size, end.torn) == (fourth, start, data[start:cut])
    assert find_end(b"").head is None
    assert (find_end(data + b"\0" * 70).head, find_end(data + b"\0" * 70).torn) == (head, b"\0" * 70)


def test_rubbish_at_the_end_does_not_end_the_chain() -> None:
    data, head = make_chain(3)
    end = find_end(data + b"rubbish\n\n")
    assert (end.head, end.size) == (head, len(data) + 9)
    line, head = render_line(act(4), after=head)
    assert says(data + b"rubbish\n\n" + line, head) == [
        "audit:4: is no entry of an audit chain",
        "audit:5: is no entry of an audit chain",
    ]


SEAL = b'"hash":"' + b"a" * 64 + b'"}'


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"null", b"[" * 5000, b'{"a":1,' + SEAL, b"{" + SEAL, b"[," + SEAL, b"\xff"]
)
def test_what_is_no_entry_is_refused(line: bytes) -> None:
    with pytest.raises(DsopsError, match="is no entry of an audit chain"):
        parse_line(line, where="x:1")


@pytest.mark.parametrize(
    "change",
    [{"number": -1}, {"number": True}, {"at": "now"}, {"kind": "other"}, {"who": 1}, {"head": "x"}, {"previous": "0"}],
)
def test_an_entry_with_a_wrong_value_is_refused_with_its_reason(change: dict[str, object]) -> None:
    line = make_chain(1)[0][:-1]
    with pytest.raises(DsopsError, match="is no entry of an audit chain: "):
        parse_line(forge(line, **({"previous": START} | change)) if "previous" not in change else forge(line, **change))


@pytest.mark.parametrize("text", ["", "1", ":" + START, "x:" + START, "1:abc", f"-1:{START}", f"1:{START}0"])
def test_a_head_is_a_number_and_a_hash(text: str) -> None:
    assert parse_head(f"12:{START}") == Head(12, START)
    with pytest.raises(ValueError):
        parse_head(text)


def test_lines_are_numbered_from_one_in_their_file() -> None:
    assert split_lines(b"a\nb", name="f") == [Line("f:1", b"a"), Line("f:2", b"b", is_torn=True)]
    assert split_lines(b"") == []
