"""pyinfra's log told in few words: what changed and where, every word of what failed, and nothing lost."""

import pytest
from dsops.control.narrate import Narrator

# Captured from pyinfra 3.10: a second run on five servers, shortened.
QUIET = """\
[$ /srv/dsops/.venv/bin/pyinfra --chdir /srv/dsops -y /srv/dsops/inventory/lab.py deploy/site.py]
--> Loading config...
--> Loading inventory...
--> Connecting to hosts...
    [lb1]  Connected
    [gpu1] Connected

--> Preparing operation files...
    Loading: deploy/site.py
    [gpu1] Ready: deploy/site.py
    [lb1]  Ready: deploy/site.py

--> Skipping change detection
--> Beginning operation run...
--> Starting operation: base | base: folders 
    [gpu1] No changes
    [lb1]  No changes

--> Starting operation: triton | triton: account 
    [lb1]  Skipped
    [gpu1] No changes

--> Results:
    Operation                                                  Hosts   Success   Error   No Change   
    base | base: folders                                       2       -         -       2           
    triton | triton: account                                   1       -         -       1           
    Grand total                                                3       -         -       3           

--> Disconnecting from hosts...
"""  # noqa: W291 - as it was captured
CHANGED = """\
--> Beginning operation run...
--> Starting operation: base | bundle: wheels/dsops 
    [lb1]  Success
    [mon1] Success
    [gpu1] Success

--> Starting operation: gateway | gateway: running 
    [lb1]  Skipped
    [gpu1] Success on retry 2

--> Results:
    Grand total                                                4       4         -       -           

--> Disconnecting from hosts...
"""  # noqa: W291
FAILED = """\
--> Beginning operation run...
--> Starting operation: works 
    [gpu1] Success
    [gpu2] Success

--> Starting operation: breaks 
    [gpu2] No changes
    [gpu1] oh no
    [gpu1] Error: this line is the program's own
    [gpu1] before
    [gpu1] Error: executed 0 commands

--> Disconnecting from hosts...
--> pyinfra error: No hosts remaining!
"""  # noqa: W291
# pyinfra has no such line for a host, but an operation may: a callback's own traceback.
CRASHED = """\
--> Beginning operation run...
--> Starting operation: boom 
Traceback (most recent call last):
  File "remote.py", line 147, in pipe
UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff
    [gpu1] Unexpected error in Python callback: UnicodeDecodeError
    [gpu1] Error: executed 0 commands (failed after 2/2 retries)

--> Disconnecting from hosts...
--> pyinfra error: No hosts remaining!
"""  # noqa: W291
UNPREPARED = """\
--> Loading inventory...
--> Connecting to hosts...
    [gpu1] SSH host key error: gpu1 is not known
    [lb1]  Connected

--> Preparing operation files...
    Loading: deploy/site.py

--> Disconnecting from hosts...
--> An exception occurred in: deploy/site.py:

Traceback (most recent call last):
  File "deploy/site.py", line 3, in <module>
RuntimeError: a bug in an operation file
"""
# A server that died while a fact was read, as roles/ops/connection.py has it.
LOST = """\
--> Beginning operation run...
--> Starting operation: base | base: folders 
    [mon1] connection lost
    [mon1] Error: could not load fact: roles.ops.files.FolderStates paths=['/etc/dsops']
    [gpu1] Success
    [mon1] Error: executed 0 commands

--> Starting operation: base | base: time 
    [gpu1] No changes

--> Results:
"""  # noqa: W291
# The same without it, as pyinfra 3.10 and gevent told it: shortened.
BURST = """\
--> Starting operation: base | base: the door's folders 
Traceback (most recent call last):
  File "src/gevent/greenlet.py", line 912, in gevent._gevent_cgreenlet.Greenlet.run
  File "/srv/dsops/.venv/lib/python3.11/site-packages/pyinfra/connectors/ssh.py", line 409, in execute_command
    stdin_buffer, stdout_buffer, stderr_buffer = self.client.exec_command(
                                                 ^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/srv/dsops/.venv/lib/python3.11/site-packages/paramiko/packet.py", line 324, in read_all
    raise EOFError()
EOFError
2026-11-22T03:27:54Z <Greenlet at 0x7f44fa4e2340: _run_host_op_with_context(Host(mon1))> failed with EOFError

--> An internal exception occurred:

  File "/srv/dsops/.venv/lib/python3.11/site-packages/paramiko/packet.py", line 324, in read_all
    raise EOFError()
EOFError

--> The full traceback has been written to pyinfra-debug.log
--> If this is unexpected please consider submitting a bug report on GitHub.
"""  # noqa: W291


def tell(log: str) -> tuple[list[str], Narrator]:
    narrator = Narrator()
    shown = [text for line in log.splitlines(keepends=True) for text in narrator.feed(line)]
    return [*shown, *narrator.end()], narrator


def test_a_run_that_changes_nothing_says_little() -> None:
    shown, narrator = tell(QUIET)
    assert shown[0].startswith("[$ /srv/dsops")
    assert shown[1:] == ["--> Connecting to hosts..."]
    assert narrator.tally.render(1.25) == "3 operations on 2 servers: nothing changed (1.2 s)"


def test_what_changed_is_one_line_an_operation() -> None:
    shown, narrator = tell(CHANGED)
    assert shown == [
        "  base | bundle: wheels/dsops: changed on gpu1, lb1, mon1",
        "  gateway | gateway: running: changed on gpu1",
    ]
    assert narrator.tally.render(2) == "4 operations on 3 servers: 4 changed (2.0 s)"


def test_every_word_of_what_failed_is_shown() -> None:
    shown, narrator = tell(FAILED)
    assert shown == [
        "  works: changed on gpu1, gpu2",
        "  breaks: FAILED on gpu1",
        "    gpu1: oh no",
        "    gpu1: Error: this line is the program's own",
        "    gpu1: before",
        "--> pyinfra error: No hosts remaining!",
    ]
    assert narrator.tally.render(2, code=1) == "4 operations on 2 servers: 1 failed, 2 changed (2.0 s)"


def test_a_crash_inside_an_operation_is_shown_whole() -> None:
    shown, _ = tell(CRASHED)
    assert shown == [
        "  boom: FAILED on gpu1",
        "    Traceback (most recent call last):",
        '      File "remote.py", line 147, in pipe',
        "    UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff",
        "    gpu1: Unexpected error in Python callback: UnicodeDecodeError",
        "--> pyinfra error: No hosts remaining!",
    ]


def test_what_stops_a_run_before_it_begins_is_shown() -> None:
    shown, narrator = tell(UNPREPARED)
    assert shown == [
        "--> Connecting to hosts...",
        "    [gpu1] SSH host key error: gpu1 is not known",
        "--> An exception occurred in: deploy/site.py:",
        "Traceback (most recent call last):",
        '  File "deploy/site.py", line 3, in <module>',
        "RuntimeError: a bug in an operation file",
    ]
    assert narrator.tally.render(0.5, code=1) == "stopped before anything was changed (0.5 s)"


def test_words_of_an_operation_that_did_not_fail_are_shown_too() -> None:
    log = "--> Starting operation: a\n    [gpu1] SKIPPED: no swap here\n    [gpu1] No changes\n--> Results:\n"
    assert tell(log)[0] == ["  a:", "    gpu1: SKIPPED: no swap here"]


def test_what_comes_after_the_results_is_shown_but_the_table() -> None:
    log = QUIET + "--> pyinfra error: something at the very end\nwith more of it\n"
    assert tell(log)[0][2:] == ["--> pyinfra error: something at the very end", "with more of it"]


def test_a_run_that_ends_badly_without_a_failed_operation_does_not_look_well() -> None:
    _, narrator = tell(QUIET)
    said = narrator.tally.render(1, code=1)
    assert said == "3 operations on 2 servers: nothing changed, but pyinfra ended with 1 (1.0 s)"


def test_a_log_that_is_cut_off_tells_what_it_had() -> None:
    shown, _ = tell(FAILED[: FAILED.index("\n--> Disconnecting")])
    assert "    gpu1: oh no" in shown
    assert tell("--> Starting operation: a\n    [gpu1] half a li")[0] == ["  a:", "    gpu1: half a li"]


def test_colours_do_not_hide_anything() -> None:
    coloured = FAILED.replace("Success", "\x1b[32mSuccess\x1b[0m").replace("[gpu1]", "[\x1b[1mgpu1\x1b[0m]")
    coloured = coloured.replace("Error: executed 0 commands", "\x1b[31mError: executed 0 commands\x1b[0m")
    assert tell(coloured)[0] == tell(FAILED)[0]


def test_a_nested_operation_is_told_by_the_one_around_it() -> None:
    log = "--> Starting operation: a\n    [gpu1] nested Success\n    [gpu1] Success\n--> Results:\n"
    shown, narrator = tell(log)
    assert shown == ["  a: changed on gpu1"]
    assert narrator.tally.changed == 1


def test_a_lost_server_is_told_once_and_counts_as_failed() -> None:
    shown, narrator = tell(LOST)
    assert shown == ["  base | base: folders: changed on gpu1; FAILED on mon1", "    mon1: connection lost"]
    said = narrator.tally.render(1, code=1)
    assert said == "3 operations on 2 servers: 1 failed, 1 changed, connection lost to mon1 (1.0 s)"


def test_a_server_that_was_lost_before_the_first_operation_is_named_at_the_end() -> None:
    early = "    [mon1] connection lost\n    [mon1] Error: could not load fact: server.LinuxDistribution\n"
    shown, narrator = tell(QUIET.replace("    [gpu1] Ready", f"{early}    [gpu1] Ready"))
    assert shown[2:] == ["    [mon1] connection lost"]
    said = narrator.tally.render(1, code=1)
    assert said == "3 operations on 2 servers: nothing changed, connection lost to mon1 (1.0 s)"


def test_a_traceback_of_a_lost_connection_is_one_line() -> None:
    shown, _ = tell(BURST)
    assert shown == [
        "  base | base: the door's folders:",
        "    a connection was lost: EOFError",
        "--> a connection was lost: EOFError",
    ]


def test_a_traceback_of_anything_else_is_whole_even_with_the_same_error() -> None:
    log = BURST.replace("/paramiko/", "/tarfile/")
    shown = "\n".join(tell(log)[0])
    assert shown.count("    raise EOFError()") == 2
    assert "pyinfra-debug.log" in shown


def test_a_traceback_that_is_cut_off_is_shown_as_far_as_it_came() -> None:
    shown, _ = tell("Traceback (most recent call last):\n  File x\n")
    assert shown == ["Traceback (most recent call last):", "  File x"]


@pytest.mark.parametrize("log", [QUIET, CHANGED, FAILED, CRASHED, UNPREPARED])
def test_no_line_but_the_routine_ones_is_lost(log: str) -> None:
    shown = "\n".join(tell(log)[0])
    routine = ["Loading", "Preparing", "Skipping", "Beginning", "Disconnecting", "Results", "Starting", "Ready"]
    routine += ["Connected", "No changes", "Skipped", "Success", "Error: executed", "Grand total", "Operation "]
    for line in log.splitlines():
        words = line.split("]", 1)[-1].strip()
        if not any(word in line for word in routine) and " | " not in line:
            assert words in shown, line


def test_an_operation_that_runs_on_one_server_after_the_other_is_told_too() -> None:
    narrator = Narrator()
    log = (
        "--> Starting serial operation: engine | engine: slot a\n    [gpu1] Success\n    [gpu2] Success\n--> Results:\n"
    )
    told = [text for line in log.splitlines() for text in narrator.feed(line)]
    assert told == ["  engine | engine: slot a: changed on gpu1, gpu2"]
    assert narrator.tally.changed == 2
