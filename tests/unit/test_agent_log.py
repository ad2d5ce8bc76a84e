# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime
import os
import signal
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._bigfix import agent_log as log
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.log_lines import (
    DAY, LOG_TAIL, compile_patterns, read_log, unread_words)
from ansible_collections.portshift.agents.plugins.module_utils._core.posix_host import THIS_HOST
from ansible_collections.portshift.agents.tests.unit.growth import SHARE, is_a_line, seconds

NAME = "20261121.log"
T = 1795288685  # 2026-11-21 19:18:05 UTC

LOG = b"""Current Date: November 21, 2026
   Client version 11.0.2
At 20:18:05 +0100 - actionsite (http://server.example.test:52311/cgi-bin/bfgather.exe/actionsite)
   Fixed - fixlet 12
At 20:18:06 +0100 -\x20
   Report posted successfully

At 20:18:09 +0100 -
   RegisterOnce: GetURL failed - General transport failure. - registration url - http://HOST:52311/
"""


def test_the_log_is_read_with_the_time_above_each_indented_line():
    assert log.log_entries(NAME, LOG) == [
        (T, "actionsite (http://server.example.test:52311/cgi-bin/bfgather.exe/actionsite)"),
        (T, "Fixed - fixlet 12"),
        (T + 1, "Report posted successfully"),
        (T + 4, "RegisterOnce: GetURL failed - General transport failure. - registration url - http://HOST:52311/"),
    ]


@pytest.mark.parametrize("name, data, expected", [
    (NAME, b"At 20:18:05 +0100 - a\r\n\tb\r\n", [(T, "a"), (T, "b")]),
    (NAME, b"\xef\xbb\xbfAt 20:18:05 +0100 - a", [(T, "a")]),
    (NAME, b"At 20:18:05 +0100 - caf\xe9\n", [(T, "caf\xe9")]),
    (NAME, "At 20:18:05 +0100 - caf\xe9\n".encode(), [(T, "caf\xe9")]),
    (NAME, b"At 13:48:05 -0530 - a\n", [(T, "a")]),
    # the date in the name is the local date: just after midnight in Berlin it is still the day before in UTC
    (NAME, b"At 00:00:00 +0100 - a\n", [(1795215600, "a")]),
    ("/var/opt/BESClient/__BESData/__Global/Logs/20261121.log", b"At 20:18:05 +0100 - a\n", [(T, "a")]),
    ("C:\\Logs\\20261121.log", b"At 20:18:05 +0100 - a\n", [(T, "a")]),
    ("client.log", LOG, []),
    ("20260231.log", LOG, []),
    ("202611210.log", LOG, []),
    (NAME, b"", []),
    (NAME, b"   at no known time\n", []),
    (NAME, b"At 20:18:05 +0100 - a\nnot indented\n", [(T, "a")]),
    (NAME, b"At 20:18:05 +0100 - a\nAt 25:18:05 +0100 -\n   never\n", [(T, "a")]),
    (NAME, b"At 20:18:05 +0100 - a\nAt 20:18:05 +2500 - b\n   never\n", [(T, "a")]),
    (NAME, b"At 20:18:05 +0100 - a\nAt half past eight\n   never\n", [(T, "a")]),
])
def test_lines_that_cannot_be_dated_are_skipped(name, data, expected):
    assert log.log_entries(name, data) == expected


def test_the_relay_chain_tells_good_from_failed():
    data = (b"At 20:18:05 +0100 - S - 1: relay1.example.test:52311\nAt 20:18:06 +0100 - F - relay2: timeout\n"
            b"At 20:18:07 +0100 - S\nAt 20:18:08 +0100 - Success - x\nAt 20:18:09 +0100 - ?\n")
    assert log.relay_chain_entries("20261121.txt", data) == [
        (T, True, "1: relay1.example.test:52311"), (T + 1, False, "relay2: timeout"), (T + 2, True, "")]
    assert log.relay_chain_entries("chain.txt", data) == []


# --- the story

def at(time, text, zone=0):
    """A line of the log of the day that NAME says."""
    local = datetime.datetime.fromtimestamp(time + zone * 3600, datetime.UTC)
    return b"At %s %+03d00 -\n   %s\n" % (local.strftime("%H:%M:%S").encode(), zone, text.encode())


def chain(time, letter, text="relay1.example.test:55000"):
    return b"At %s +0000 - %s - %s\n" % (datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%H:%M:%S").encode(),
                                         letter.encode(), text.encode())


def story(data, told_by_chain=b"", now=T + 1000, success=("posted", "Synchronization"), failure=("failed",)):
    found = log.Story(55000, compile_patterns(success, 55000), compile_patterns(failure, 55000), now)
    found.read_chain(NAME.replace("log", "txt"), told_by_chain)
    found.read_log(NAME, data)
    return found


def verdict(word):
    return word and (word.time - T, word.good)


POSTED, FAILED = "Report posted successfully", "GetURL failed"


@pytest.mark.parametrize("data, since, expected", [
    (at(T + 11, POSTED), T + 10, (11, True)),
    (at(T + 11, POSTED), T + 10.9, (11, True)),
    (at(T + 10, POSTED), T + 10, None),
    (at(T + 10, POSTED), T + 10.9, None),
    (at(T + 10, POSTED), T + 9.9, (10, True)),
    (at(T + 11, POSTED) + at(T + 12, POSTED), T + 10, (12, True)),
    (at(T + 11, FAILED) + at(T + 12, POSTED), T + 10, (12, True)),
    (at(T + 11, POSTED) + at(T + 12, FAILED), T + 10, (12, False)),
    (at(T + 11, POSTED) + at(T + 11, FAILED), T + 10, (11, False)),
    (at(T + 11, FAILED) + at(T + 11, POSTED), T + 10, (11, True)),
    (at(T + 11, "posted, then failed"), T + 10, (11, False)),
    (at(T + 11, "REPORT POSTED"), T + 10, (11, True)),
    (b"", T + 10, None),
])
def test_the_last_word_is_the_newest_success_or_failure_since_then(data, since, expected):
    assert verdict(story(data).last_word(since)) == expected


def test_a_failure_in_the_log_after_a_good_entry_of_the_relay_chain_is_the_last_word():
    assert verdict(story(at(T + 12, FAILED), chain(T + 11, "S")).last_word(T)) == (12, False)
    assert verdict(story(at(T + 11, FAILED), chain(T + 12, "S")).last_word(T)) == (12, True)
    assert verdict(story(at(T + 11, POSTED), chain(T + 12, "F")).last_word(T)) == (12, False)
    # Within a second the log decides.
    assert verdict(story(at(T + 12, FAILED), chain(T + 12, "S")).last_word(T)) == (12, False)
    assert verdict(story(at(T + 12, POSTED), chain(T + 12, "F")).last_word(T)) == (12, True)
    assert story(b"", chain(T + 12, "S")).last_word(T).text == "relay chain: relay1.example.test:55000"


def test_nothing_later_than_now_counts():
    ahead = story(at(T + 10, FAILED) + at(T + 3600, POSTED), chain(T + 3600, "S"), now=T + 20)
    assert verdict(ahead.last_word(T)) == (10, False)
    assert story(at(T + 3600, POSTED), chain(T + 3600, "S"), now=T + 20).last_word(T) is None
    assert verdict(story(at(T + 10, POSTED) + at(T + 3600, FAILED), now=T + 20).last_word(T)) == (10, True)
    # No tolerance: the second that has just begun is not later than now, the next one is.
    assert verdict(story(at(T + 20, POSTED), now=T + 20.01).last_word(T)) == (20, True)
    assert story(at(T + 21, POSTED), now=T + 20.9).last_word(T) is None


def test_a_success_of_a_clock_that_was_ahead_does_not_count_when_the_hour_has_come_either():
    set_back = at(T + 600, POSTED) + at(T + 10, "Client started") + at(T + 20, FAILED)
    assert verdict(story(set_back).last_word(T)) == (20, False)
    assert verdict(story(b"", chain(T + 600, "S") + chain(T + 20, "F")).last_word(T)) == (20, False)
    assert story(at(T + 600, POSTED) + at(T + 10, "Client started")).last_word(T) is None
    # Lines that two threads write may be a little out of order.
    assert verdict(story(at(T + 12, POSTED) + at(T + 11, "x")).last_word(T)) == (12, True)
    # A failure is one, whenever it was.
    assert verdict(story(at(T + 600, FAILED) + at(T + 10, POSTED)).last_word(T)) == (600, False)


HEAD = b"At 19:18:25 +0000 - actionsite (http://server.example.test:%d/cgi-bin/bfgather.exe/actionsite)\n   Report posted\n"
REGISTER = "RegisterOnce: Attempting to register with 'http://relay.example.test:%d/cgi-bin/bfenterprise/clientregister.exe?x=1'"


@pytest.mark.parametrize("data, good", [
    (at(T + 20, "Successful Synchronization with site 'actionsite' - 'http://server.example.test:55000/cgi-bin/'"), True),
    (at(T + 20, "Successful Synchronization with site 'actionsite' - 'http://server.example.test:52311/cgi-bin/'"), False),
    (at(T + 20, "Report posted to [fd00::7]:52311"), False),
    (HEAD % 55000, True), (HEAD % 52311, False),
    # Another time is another block.
    (HEAD % 52311 + at(T + 21, POSTED), True),
    (at(T + 10, REGISTER % 55000) + at(T + 20, POSTED), True),
    (at(T + 10, REGISTER % 52311) + at(T + 20, POSTED), False),
    (at(T + 10, REGISTER % 52311) + at(T + 11, REGISTER % 55000) + at(T + 20, POSTED), True),
    (at(T + 10, "Trying to connect to relay on port 52311") + at(T + 20, POSTED), False),
    (at(T + 10, "Trying to connect to relay on port 52311.") + at(T + 20, POSTED), False),
    # A registration that was tried before the agent was started anew tells it too: a new agent registers anew.
    (at(T - 100, REGISTER % 52311) + at(T + 20, POSTED), False),
    # A port without a say in it.
    (at(T + 10, "Downloading http://mirror.example.test:8080/a.exe") + at(T + 20, POSTED), True),
    (at(T + 20, "Report posted at 12:30:45, 2026-11-21 20:18:05, fe80:1234:5678::9999"), True),
])
def test_a_success_of_another_port_is_none(data, good):
    found = story(data)
    assert bool(found.last_word(T)) == good
    assert good or found.last_elsewhere(T).time == T + 20 and found.last_elsewhere(T + 20) is None


def test_a_good_entry_of_the_relay_chain_for_another_port_is_none():
    found = story(b"", chain(T + 11, "S", "relay1.example.test:52311"))
    assert found.last_word(T) is None and found.last_elsewhere(T).text == "relay chain: relay1.example.test:52311"
    assert verdict(story(b"", chain(T + 11, "S", "1: relay1")).last_word(T)) == (11, True)


def test_the_end_of_a_log_tells_nothing_of_lines_whose_time_was_cut_off(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(at(T + 5, "x" * LOG_TAIL + "posted") + b"   Report posted, at no known time\n")
    assert story(read_log(THIS_HOST, str(path))).last_word(T) is None
    with open(path, "ab") as target:
        target.write(at(T + 6, POSTED))
    assert verdict(story(read_log(THIS_HOST, str(path))).last_word(T)) == (6, True)


def test_what_was_not_read_of_a_log_is_said(tmp_path):
    path = tmp_path / NAME
    for size, words in ((LOG_TAIL, ""), (LOG_TAIL + 7, "; the first 7 bytes of %s were not read" % path)):
        path.write_bytes(b"x" * size)
        assert unread_words(THIS_HOST, str(path)) == words
    assert unread_words(THIS_HOST, str(tmp_path / "none")) == ""


def test_a_long_line_is_a_line(tmp_path):
    path = tmp_path / NAME
    with open(path, "wb") as target:
        target.write(b"At 19:18:15 +0000 -\n   ")
        target.truncate(100 * 1024 * 1024)
        target.seek(0, os.SEEK_END)
        target.write(b"Report posted\n" + at(T + 20, POSTED) + b"   " + b"\xff\x00{{ 7*7 }}" * 1000 + b"posted\n")
    tracemalloc.start()
    try:
        assert verdict(story(read_log(THIS_HOST, str(path))).last_word(T)) == (20, True)
        assert tracemalloc.get_traced_memory()[1] < 8 * LOG_TAIL
    finally:
        tracemalloc.stop()


def test_a_log_with_a_line_every_moment_costs_what_it_is_long():
    # The clock goes to and fro, so that successes are taken back again and again.
    whole = b"".join(at(T + 500 * (number % 2) + number % 400, POSTED if number % 3 else FAILED) for number in range(40000))
    assert is_a_line(seconds(story, whole[:len(whole) // SHARE]), seconds(story, whole))


# --- the files

def touched(folder, *names):
    for name in names:
        (folder / name).write_bytes(at(T, name))


def names(folder, since=T, now=T):
    return [os.path.basename(path) for path, unused in log.day_files(THIS_HOST, str(folder), log.LOG_ENDINGS, since, now)]


def test_the_files_of_yesterday_today_and_tomorrow_are_read_in_their_order(tmp_path):
    touched(tmp_path, "20261119.log", "20261120.log", "20261121.log", "20261121.bkg", "20261122.log", "20261123.log")
    assert names(tmp_path) == ["20261120.log", "20261121.bkg", "20261121.log", "20261122.log"]


def test_files_of_the_future_and_of_no_day_hide_none(tmp_path):
    touched(tmp_path, "20261121.log", "20991231.log", "99999999.log", "20261121.log.1", "x20261121.log", "20261121.log\n")
    touched(tmp_path, *["2027%02d%02d.log" % (month, day) for month in range(1, 13) for day in range(1, 29)])
    assert names(tmp_path) == ["20261121.log"]


def test_an_agent_that_was_silent_for_long_is_read_as_far_back_as_a_line_counts(tmp_path):
    touched(tmp_path, "20261101.log", "20261102.log", "20261103.log", "20261104.log")
    assert names(tmp_path, since=T - 20 * DAY) == ["20261102.log", "20261103.log", "20261104.log"]
    assert names(tmp_path, since=T - DAY) == [] and names(tmp_path, since=float("-inf")) != []


def test_a_fifo_in_the_place_of_a_log_holds_nothing_up(tmp_path):
    def hangs(*unused):
        raise TimeoutError

    os.mkfifo(tmp_path / "20261121.log")
    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(60)
    try:
        with pytest.raises(EngineError, match="20261121.log: is a special file, not a file"):
            names(tmp_path)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_folder_that_is_none_is_a_sentence(tmp_path):
    with pytest.raises(EngineError, match="Logs: is not a folder that can be read; name the folder of the agent's logs"):
        names(tmp_path / "Logs")


@given(st.datetimes(datetime.datetime(1970, 1, 3), datetime.datetime(2100, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_every_local_time_reads_as_the_instant_it_names(local, minutes):
    local = local.replace(microsecond=0)
    zone = datetime.timezone(datetime.timedelta(minutes=minutes))
    stamp = "%s %s%02d%02d" % (local.strftime("%H:%M:%S"), "+-"[minutes < 0], abs(minutes) // 60, abs(minutes) % 60)
    entries = log.log_entries(local.strftime("%Y%m%d.log"), b"At " + stamp.encode() + b" - x\n")
    if abs(minutes) < 15 * 60:
        assert entries == [(local.replace(tzinfo=zone).timestamp(), "x")]


@given(st.text(), st.binary())
def test_no_name_and_no_bytes_raise(name, data):
    for known in (name, NAME):
        for damaged in (data, LOG[:40] + data + LOG[40:]):
            log.log_entries(known, damaged)
            log.relay_chain_entries(known, damaged)
