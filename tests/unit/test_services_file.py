# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services database: read as the C library reads it, edited without losing a byte."""

import functools
import os
import random
import shutil
import socket
import subprocess

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._boks import services_file, services_lines as engine
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileError
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import PortError
from ansible_collections.portshift.agents.plugins.module_utils._core.posix_host import THIS_HOST
from ansible_collections.portshift.agents.plugins.module_utils._boks.services_file import ServicesEdit
from ansible_collections.portshift.agents.plugins.module_utils._boks.services_lines import ServicesFileError, parse, resolve
from ansible_collections.portshift.agents.tests.unit import growth, services_lookups

QUESTIONS = [("boks", "tcp"), ("boks", "udp"), ("boks", None)]

# As RHEL and its relatives ship it, between its neighbours.
REDHAT = b"""\
# /etc/services:
# service-name  port/protocol  [aliases ...]   [# comment]
ssh             22/tcp                          # The Secure Shell (SSH) Protocol
lm-x            6200/tcp                        # LM-X License Manager by X-Formation
boks            6500/tcp                # BoKS Master
boks            6500/udp                # BoKS Master
boks_servc      6501/tcp boks-servc     # BoKS Servc
boks_servc      6501/udp boks-servc     # BoKS Servc
boks_servm      6502/tcp boks-servm     # BoKS Servm
boks_clntd      6503/tcp boks-clntd     # BoKS Clntd
badm_priv       6505/tcp badm-priv      # BoKS Admin Private Port
"""
DEBIAN = b"# Network services, Internet style\n\ntcpmux\t\t1/tcp\t\t\t\t# TCP port service multiplexer\nssh\t\t22/tcp\n"


def ports(content):
    return [found and found[0] for found in (resolve(content, *question) for question in QUESTIONS)]


def edited(content, port=6530, **options):
    return engine.with_entry(content, "boks", port, **options).after


def removed(content, **options):
    return engine.without_entry(content, "boks", **options).after


# --- reading: each line here was also read by the C library, in test_table_is_what_the_c_library_answers --------------


TABLE = [
    # content, boks/tcp, boks/udp, boks
    (b"", None, None, None),
    (b"boks 6500/tcp\n", 6500, None, 6500),
    (b"boks 6500/udp\nboks 6501/tcp\n", 6501, 6500, 6500),
    (b"boks 6500/tcp\nboks 6530/tcp\n", 6500, None, 6500),
    (b"boksm 6600/tcp boks\nboks 6500/tcp\n", 6600, None, 6600),
    (b"boks 6500/tcp\nboksm 6600/tcp x boks\n", 6500, None, 6500),
    (b"boks 06530/tcp\n", 3416, None, 3416),
    (b"boks 0x1982/tcp\n", 6530, None, 6530),
    (b"boks 70000/tcp\n", 4464, None, 4464),
    (b"boks 65536/tcp\n", 0, None, 0),
    (b"boks 08/tcp\n", None, None, None),
    (b"boks +6500/tcp\n", 6500, None, 6500),
    (b"boks 6500 /tcp\n", None, None, None),
    (b"boks 6500/ tcp\n", None, None, 6500),
    (b"boks 6500//tcp\n", 6500, None, 6500),
    (b"boks 6500\n", None, None, 6500),
    (b"boks 6500\r\n", None, None, None),
    (b"boks 6500/tcp\r\n", 6500, None, 6500),
    (b"boks 6500/tcp", 6500, None, 6500),
    (b"  \tboks 6500/tcp\n", 6500, None, 6500),
    (b"\v\fboks\v6500/tcp\f\n", 6500, None, 6500),
    (b"Boks 6500/tcp\nBOKS 1/tcp\n", None, None, None),
    (b"boks 6500/TCP\n", None, None, 6500),
    (b"#boks 6500/tcp\n", None, None, None),
    (b"x 1/tcp # boks\n", None, None, None),
    (b"x 1/tcp y#boks\n", None, None, None),
    (b"x 1/tcp y boks#z\n", 1, None, 1),
    (b"boks#x 6500/tcp\n", None, None, None),
    (b"boks 6500#/tcp\n", None, None, 6500),
    (b"boks_servc 6501/tcp boks-servc\n", None, None, None),
    (b"boks\0x 6500/tcp\n", None, None, None),
    (b"boks 6500/tcp\0 boks\nboks 1/tcp\n", 6500, None, 6500),
    (b"caf\xe9 1/tcp \xff boks\n", 1, None, 1),
    (b"\xef\xbb\xbfboks 6500/tcp\nboks 1/tcp\n", 1, None, 1),
    (b"a" * 100000 + b" 1/tcp boks\n", 1, None, 1),
    (b"odd line\n::\nboks\n\nboks 6500/tcp\n", 6500, None, 6500),
]


@pytest.mark.parametrize("content, tcp, udp, either", TABLE, ids=[repr(row[0][:40]) for row in TABLE])
def test_reading(content, tcp, udp, either):
    assert ports(content) == [tcp, udp, either]


def test_table_is_what_the_c_library_answers():
    assert services_lookups.answers([row[0] for row in TABLE], QUESTIONS) == [list(row[1:]) for row in TABLE]


def test_line_says_where_it_stands_and_where_its_digits_are():
    content = b"# c\n  boks\t06500/tcp bk  bq # x\r\nodd\n"
    comment, line, odd = parse(content)
    assert (comment, odd) == (None, None)
    assert line == ("boks", 0o6500, "tcp", ["bk", "bq"], 2, (11, 16)) and content[slice(*line.span)] == b"06500"


def test_names_of_odd_bytes_stay_apart_and_can_be_shown():
    names = [line.name for line in parse(b"caf\xe9 1/tcp\ncaf\xc3\xa9 1/tcp\n")]
    assert names[0] != names[1] == "caf\u00e9" and engine.shown(names[0]) == "caf\ufffd"


# --- reading: against the C library ----------------------------------------------------------------------------------


def some(chance, pick, *choices):
    return pick.choice(choices) if pick.random() < chance else b""


def random_line(pick):
    """Mostly lines that mean something, since a file of noise finds nothing; then a byte in some of them goes wrong."""
    blank = functools.partial(pick.choice, (b" ", b"\t", b"  ", b"\t\t", b" ", b"\v", b"\f", b"\r", b"\xa0", b"\0"))
    gap = blank if pick.random() < 0.1 else functools.partial(pick.choice, (b" ", b"\t", b"   "))
    line = some(0.1, pick, b" ", b"\t", b"    ", b"\r", b"#", b"# ")
    line += pick.choice((b"boks",) * 8 + (b"Boks", b"boks_servc", b"x", b"b", b"caf\xe9", b"#boks", b""))
    line += gap() + pick.choice((b"6500", b"%d" % pick.randrange(1, 65536)) * 10 + (
        b"06530", b"08", b"0x1982", b"0X1g", b"0x", b"70000", b"65536", b"0", b"00", b"-0", b"-1", b"+12", b"+-1", b"4294967295",
        b"4294967296", b"99999999999999999999999", b"-18446744073709551611", b"", b"65x", b"1e3", b"6.5"))
    line += pick.choice((b"/",) * 12 + (b"//", b" /", b"/ ", b"", b"/#", b":"))
    line += pick.choice((b"tcp", b"udp") * 6 + (b"sctp", b"TCP", b"tcp6", b"", b"tc"))
    for _unused in range(pick.choice((0, 0, 0, 0, 1, 2))):
        line += gap() + pick.choice((b"boks", b"bk", b"x", b"Boks", b"bo", b"ks", b"#boks", b"#"))
    line += some(0.2, pick, b" # boks", b"#", b"\t# BoKS Master", b" ")
    if pick.random() < 0.05 and line:
        at = pick.randrange(len(line))
        line = line[:at] + pick.choice((b"", bytes([pick.randrange(256)]), b" ", b"/", b"\n")) + line[at + pick.choice((0, 1)):]
    return line


def random_file(pick):
    lines = [random_line(pick) + pick.choice((b"\n",) * 12 + (b"\r\n", b"\r\n", b"\n\n", b" \n", b"\0\n"))
             for _unused in range(pick.choice((0, 1, 2, 3, 3, 4, 6)))]
    return b"".join(lines) + (random_line(pick) if pick.random() < 0.3 else b"")


def seeded():
    """A source of random files.  Its seed stands in every failure; PORTSHIFT_SEED goes through the same files again."""
    seed = int(os.environ.get("PORTSHIFT_SEED") or random.SystemRandom().randrange(2 ** 32))
    return random.Random(seed), "PORTSHIFT_SEED=%d" % seed


def comparable(contents):
    """Without what other versions of the C library than the one here read otherwise, where this one does."""
    canaries = [b"  boks 6500/tcp", b"  boks 6500/tcp\0\n", b"boks -1/tcp\n", b"boks 99999999999/tcp\n", b"boks 0b1/tcp\n"]
    if services_lookups.answers(canaries, QUESTIONS) == [ports(canary) for canary in canaries]:
        return contents
    return [content for content in contents if not engine.doubtful(content, "boks")]


def test_ten_thousand_files_are_read_as_the_c_library_reads_them():
    pick, seed = seeded()
    contents = comparable([random_file(pick) for _unused in range(10000)])
    answers = services_lookups.answers(contents, QUESTIONS)
    wrong = [(content, ours, theirs) for content, ours, theirs in zip(contents, map(ports, contents), answers) if ours != theirs]
    assert not wrong, "%s: %d files, the first: %r is read as %s, by the C library as %s" % ((seed, len(wrong)) + wrong[0])
    # The files would prove little if lookups found nothing in them.
    for place in range(len(QUESTIONS)):
        found = sum(answer[place] is not None for answer in answers)
        assert 0.15 * len(answers) < found < 0.95 * len(answers), "%s: %d of %d" % (seed, found, len(answers))


def test_getent_itself_reads_a_sample_the_same_way():
    pick, seed = seeded()
    contents = comparable([random_file(pick) for _unused in range(100)])
    questions = QUESTIONS[:2]
    assert services_lookups.answers(contents, questions, by="getent") == [ports(content)[:2] for content in contents], seed


def test_after_an_edit_the_c_library_answers_the_new_port_and_taking_it_back_gives_the_old_bytes():
    pick, seed = seeded()
    edits, refused = [], 0
    for content in (random_file(pick) for _unused in range(3000)):
        required = pick.choice((["tcp"], ["tcp", "udp"], ["udp"]))
        optional = pick.choice(([], ["udp"], ["tcp"]))
        try:
            change = engine.with_entry(content, "boks", 6530, required, optional)
        except ServicesFileError as err:
            refused += 1
            assert "line " in str(err), (seed, content)
            continue
        edits.append((content, change))
        assert set(required) <= set(change.previous) <= set(required + optional), (seed, content)
        if all(port is None for port in change.previous.values()):
            assert engine.without_entry(change.after, "boks", None, list(change.previous)).after == content, (seed, content)
    answers = services_lookups.answers([change.after for _content, change in edits], QUESTIONS)
    for (content, change), answer in zip(edits, answers):
        found = dict(zip(("tcp", "udp"), answer))
        before = dict(zip(("tcp", "udp"), ports(content)))
        for protocol in ("tcp", "udp"):
            expected = 6530 if protocol in change.previous else before[protocol]
            assert found[protocol] == expected, (seed, content, change)
    assert len(edits) > 1000 and refused > 100, (seed, len(edits), refused)


# --- editing ---------------------------------------------------------------------------------------------------------


def test_digits_of_the_first_match_move_and_nothing_else():
    for before, after in [
            (b"boks 6500/tcp\n", b"boks 6530/tcp\n"),
            (b"boks\t\t6500/tcp  bk\t# 6500 \xe9\r\n", b"boks\t\t6530/tcp  bk\t# 6500 \xe9\r\n"),
            (b"boks 6500/tcp\nboks 6500/tcp\n", b"boks 6530/tcp\nboks 6500/tcp\n"),
            (b"6500 6500/tcp\nboks 6500/tcp # boks 6500/tcp", b"6500 6500/tcp\nboks 6530/tcp # boks 6500/tcp"),
            (b"boks 06500/tcp\n", b"boks 6530/tcp\n"), (b"boks +0x1/tcp\n", b"boks 6530/tcp\n"),
            (b"boks 6500 /tcp\nboks 1/tcp\n", b"boks 6500 /tcp\nboks 6530/tcp\n"),
            (b"#boks 6500/tcp\nBoks 1/tcp\nboks 2/tcp\n", b"#boks 6500/tcp\nBoks 1/tcp\nboks 6530/tcp\n"),
            (b"boks 6500/udp\nboks 6500/tcp\n", b"boks 6500/udp\nboks 6530/tcp\n")]:
        assert edited(before) == after
        assert edited(after) == after


def test_every_byte_outside_of_the_digits_stays():
    pick, seed = seeded()
    moved = 0
    for content in (random_file(pick) for _unused in range(2000)):
        found = resolve(content, "boks", "tcp")
        if not found or found[1].name != "boks" or engine.doubtful(content, "boks"):
            continue
        start, end = found[1].span
        assert edited(content) == content[:start] + (content[start:end] if found[0] == 6530 else b"6530") + content[end:], (
            seed, content)
        moved += 1
    assert moved > 300, (seed, moved)


def test_port_that_is_there_in_another_spelling_is_left_alone():
    assert edited(b"boks 0x1982/tcp\n") == b"boks 0x1982/tcp\n"


def test_there_and_back_gives_the_old_bytes():
    there = edited(REDHAT, protocols_if_present=["udp"])
    assert there == REDHAT.replace(b"6500/", b"6530/")
    assert edited(there, 6500, protocols_if_present=["udp"]) == REDHAT


def test_udp_moves_only_where_it_is():
    assert edited(b"boks 1/udp\n", protocols_if_present=["udp"]) == b"boks 6530/udp\nboks            6530/tcp\n"
    assert edited(DEBIAN, protocols_if_present=["udp"]) == DEBIAN + b"boks            6530/tcp\n"
    assert engine.with_entry(DEBIAN, "boks", 6530, ["tcp"], ["udp"]).previous == {"tcp": None}


@pytest.mark.parametrize("content, line", [
    (b"", b"boks            6530/tcp\n"),
    (b"a 1/tcp\n", b"boks            6530/tcp\n"),
    (b"a 1/tcp", b"\nboks            6530/tcp"),
    (b"a 1/tcp\r\n", b"boks            6530/tcp\r\n"),
    (b"a 1/tcp\r\nb 2/tcp", b"\r\nboks            6530/tcp"),
    (b"a 1/tcp\r", b"\r\nboks            6530/tcp"),
    (b"a 1/tcp\n\n\n", b"boks            6530/tcp\n"),
    (b"  a 1/tcp", b"\nboks            6530/tcp"),
    (b"# caf\xe9 \xff\0", b"\nboks            6530/tcp"),
])
def test_new_line_comes_to_the_end_and_absent_takes_it_back(content, line):
    there = edited(content)
    assert there == content + line
    assert removed(there) == content
    both = edited(content, protocols=["tcp", "udp"], aliases=["bk"], comment="base")
    assert removed(both, protocols=["tcp", "udp"]) == content


def test_new_line_has_aliases_and_comment():
    assert edited(b"", aliases=["bk", "boks", "bq"], comment="# the base port, caf\u00e9") == (
        "boks            6530/tcp        bk bq           # the base port, caf\u00e9\n".encode())


def test_line_that_is_there_keeps_its_aliases_and_comment_and_a_lacking_alias_is_told():
    change = engine.with_entry(b"boks 1/tcp bk # c\n", "boks", 6530, aliases=["bk", "bq"], comment="d")
    assert change.after == b"boks 6530/tcp bk # c\n"
    assert change.warnings == ["line 1, boks 1/tcp, lacks the alias bq; lines that are there keep their names"]


@pytest.mark.parametrize("content, added, previous", [
    (b"", b"boks            6530/tcp\nboks            6530/udp\n", {"tcp": 6500, "udp": 6500}),
    (b"boks 6510/udp\n", b"boks            6530/tcp\n", {"tcp": 6500, "udp": 6510}),
    (b"boks 6500/tcp # ours\nboks 6500/udp\n", b"", {"tcp": 6500, "udp": 6500}),
])
def test_entry_of_the_distributions_own_list_moves_by_a_line_that_is_found_first(content, added, previous):
    behind = parse(REDHAT)
    change = engine.with_entry(content, "boks", 6530, ["tcp"], ["udp"], behind=behind)
    assert change.after == content.replace(b"6510/", b"6530/").replace(b"6500/", b"6530/") + added
    assert change.previous == previous
    for protocol in ("tcp", "udp"):
        assert engine.lookup(parse(change.after) + behind, "boks", protocol)[0] == 6530
    assert engine.with_entry(change.after, "boks", 6530, ["tcp"], ["udp"], behind=behind).after == change.after


def test_entry_that_the_distributions_own_list_has_right_needs_no_line():
    behind = parse(b"boks 6530/tcp\n")
    assert engine.with_entry(b"", "boks", 6530, ["tcp"], ["udp"], behind=behind)[0::2] == (b"", {"tcp": 6530})
    assert edited(b"", 6540, behind=behind) == b"boks            6540/tcp\n"


def test_line_that_stands_before_the_distributions_own_has_its_aliases():
    behind = parse(b"boks 6500/tcp bk caf\xe9 # shipped\n")
    assert edited(b"", aliases=["bq", "bk"], comment="ours", behind=behind) == (
        b"boks            6530/tcp        bk caf\xe9 bq      # ours\n")


def test_alias_in_the_distributions_own_list_is_no_obstacle():
    behind = parse(b"boksm 6600/tcp boks\nboksm 6600/udp boks\n")
    change = engine.with_entry(b"", "boks", 6530, ["tcp"], ["udp"], behind=behind)
    assert (change.after, change.previous, change.warnings) == (b"boks            6530/tcp\n", {"tcp": 6600}, [])


def test_alias_that_another_line_claims_is_told():
    change = engine.with_entry(b"bk 1/tcp\n", "boks", 6530, aliases=["bk"])
    assert change.warnings == ["the alias bk is claimed by line 1, bk 1/tcp, so that lookups of it end there"]


@pytest.mark.parametrize("content", [b"a 1/tcp\nboksm 6600/tcp x boks\nboks 6500/tcp\n", b"a 1/tcp\nboksm 6600/tcp boks"])
def test_earlier_line_with_the_name_as_alias_is_a_failure_that_names_it(content):
    with pytest.raises(ServicesFileError) as caught:
        edited(content)
    assert str(caught.value) == (
        "line 2, boksm 6600/tcp, has boks as an alias, so lookups of boks/tcp end there and not at a line of its own; "
        "remove the alias from that line if that is right, then run again")


def test_alias_of_another_line_for_an_optional_protocol_is_a_warning():
    change = engine.with_entry(b"boksm 1/udp boks\nboks 2/tcp\n", "boks", 6530, ["tcp"], ["udp"])
    assert (change.after, change.previous) == (b"boksm 1/udp boks\nboks 6530/tcp\n", {"tcp": 2})
    assert change.warnings[0].startswith("line 1, boksm 1/udp, has boks as an alias, so lookups of boks/udp end there")


def test_later_line_with_the_name_as_alias_is_left_alone_and_told():
    content = b"boks 6500/tcp\nboksm 1/tcp boks\nboks 2/tcp\n"
    assert edited(content) == content.replace(b"6500", b"6530")
    assert engine.shadowed(parse(content), "boks") == [
        "line %d, %s, is never reached by lookups of boks: line 1, boks 6500/tcp, comes first" % where
        for where in ((2, "boksm 1/tcp"), (3, "boks 2/tcp"))]


def test_entries_tell_which_line_counts():
    assert [(entry["line"], entry["protocol"], entry["effective"]) for entry in engine.entries(
        parse(b"boks 1/tcp\nboks 2/udp b\nboks 3/tcp\nx 4/tcp\n"), "boks")] == [
            (1, "tcp", True), (2, "udp", True), (3, "tcp", False)]


def test_many_lines_of_one_name_take_no_square_of_their_number():
    def cost(count):
        lines = parse(b"".join(b"boks %d/p%d\n" % (1 + number % 65535, number) for number in range(count)))
        return growth.seconds(lambda: (engine.entries(lines, "boks"), engine.shadowed(lines, "boks")))

    eighth, whole = (cost(count) for count in (8000 // growth.SHARE, 8000))
    assert growth.is_a_line(eighth, whole), (eighth, whole)


def test_lookup_without_protocol_that_still_gives_the_old_port_is_told():
    change = engine.with_entry(b"boks 6500/udp\nboks 6500/tcp\n", "boks", 6530)
    assert change.warnings == ["line 1, boks 6500/udp, answers who asks for boks without a protocol, with port 6500"]


@pytest.mark.parametrize("content, why", [
    (b"  boks 6500/tcp", "begins with blanks and has no newline at its end"),
    (b"x 1/tcp\n\tboksm 1/tcp boks", "begins with blanks and has no newline at its end"),
    (b"  boks 6500/tcp\0\n", "begins with blanks and has no newline at its end"),
    (b"     a 1/tcp s bok", "begins with blanks and has no newline at its end"),
    (b"boks -1/tcp\n", "holds a number that is no port"),
    (b"boks 4294967296/tcp\n", "holds a number that is no port"),
    (b"boks 0b11/tcp\n", "holds a number that is no port"),
])
def test_line_that_versions_of_the_c_library_read_differently_is_refused(content, why):
    for action in (edited, removed):
        with pytest.raises(ServicesFileError) as caught:
            action(content)
        assert "about boks and is read differently by different versions of the C library, since it " + why in str(caught.value)


@pytest.mark.parametrize("content", [b"  # boks", b"  x 1/tcp # boks", b"x -1/tcp # boks\n", b"  other 1/tcp", b"boks x/tcp\n"])
def test_such_a_line_about_something_else_is_not(content):
    assert ports(edited(content))[0] == 6530


def test_absent_removes_every_line_of_the_name_and_protocol():
    content = b"a 1/tcp\nboks 2/tcp\nboks 3/udp\nboks 4/tcp\nboksm 5/tcp boks # boks 6/tcp\n"
    change = engine.without_entry(content, "boks")
    assert change.after == b"a 1/tcp\nboks 3/udp\nboksm 5/tcp boks # boks 6/tcp\n"
    assert change.previous == {"tcp": 2} and "line 3, boksm 5/tcp, has boks as an alias" in change.warnings[0]
    assert removed(content, protocols_if_present=["udp"]) == b"a 1/tcp\nboksm 5/tcp boks # boks 6/tcp\n"
    assert removed(content, port=4) == content.replace(b"boks 4/tcp\n", b"")
    assert removed(b"a 1/tcp\n") == b"a 1/tcp\n" and engine.without_entry(b"", "boks").previous == {"tcp": None}


@pytest.mark.parametrize("options, sentence", [
    (dict(name="bo ks"), "name is 'bo ks', which can't stand in the services database"),
    (dict(name="boks/tcp"), "can't stand in the services database"), (dict(name="#b"), "can't stand"),
    (dict(name=""), "can't stand"),
    (dict(name="caf\u00e9"), "printable ASCII"), (dict(name="boks\n"), "can't stand"),
    (dict(aliases=["a b"]), "an alias is 'a b', which can't stand"),
    (dict(comment="a\nb"), "the comment holds a line break"), (dict(comment="\udce9"), "control character"),
    (dict(protocols=["TCP"]), "'TCP' is no protocol as the services database spells one"),
    (dict(protocols=["tcp x"]), "is no protocol"), (dict(protocols=[]), "no protocol was given"),
])
def test_what_can_not_stand_in_the_file_is_refused(options, sentence):
    with pytest.raises(ServicesFileError) as caught:
        engine.with_entry(b"", **dict(dict(name="boks", port=6530), **options))
    assert sentence in str(caught.value)


@pytest.mark.parametrize("port", [0, 65536, -1])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(PortError):
        edited(b"", port)


def test_long_list_with_an_odd_line_is_edited():
    lines = [b"service%05d     %d/tcp    alias%05d      # comment of service %05d" % (number, 1 + number % 65535, number, number)
             for number in range(11000)]
    lines[5000:5000] = [b"an odd line / that no lens takes \xff\xfe", b"boks            6500/tcp"]
    content = b"\n".join(lines) + b"\n"
    assert len(content) > 700000
    assert edited(content) == content.replace(b"boks            6500/tcp", b"boks            6530/tcp")


# --- the file on the host --------------------------------------------------------------------------------------------


@pytest.fixture
def services(tmp_path):
    path = tmp_path / "services"
    path.write_bytes(REDHAT)
    return path


def test_edit_is_ready_to_be_committed(services, fake_module):
    edit = ServicesEdit(str(services), "boks", 6530, protocols_if_present=["udp"])
    assert (edit.previous, edit.warnings, edit.redact(REDHAT)) == ({"tcp": 6500, "udp": 6500}, [], REDHAT)
    assert [(entry["port"], entry["line"]) for entry in edit.entries] == [(6530, 5), (6530, 6)] and edit.shadowed == []
    assert services.read_bytes() == REDHAT
    assert edit.file.commit(fake_module())["changed"] is True
    assert services.read_bytes() == REDHAT.replace(b"6500/", b"6530/")
    assert ServicesEdit(str(services), "boks", 6530).file.commit(fake_module())["changed"] is False


def test_sentences_begin_with_the_path(services):
    services.write_bytes(b"boksm 1/tcp boks\n")
    with pytest.raises(ServicesFileError) as caught:
        ServicesEdit(str(services), "boks", 6530)
    assert str(caught.value).startswith("%s: line 1, boksm 1/tcp, has boks as an alias" % services)
    assert str(caught.value).endswith("; nothing was written")


def test_file_that_is_too_large_is_not_read(services):
    with open(services, "r+b") as target:
        target.truncate(services_file.SIZE_LIMIT + 1)
    with pytest.raises(ServicesFileError, match="has 16777217 bytes, more than the 16777216 that a services database may have"):
        ServicesEdit(str(services), "boks", 6530)


def test_what_is_no_file_is_a_sentence(services):
    services.unlink()
    with pytest.raises(FileError, match="does not exist"):
        ServicesEdit(str(services), "boks", 6530)
    os.mkfifo(services)
    with pytest.raises(FileError, match="is a special file, not a file"):
        ServicesEdit(str(services), "boks", 6530)


@pytest.mark.parametrize("content, order", [
    (b"services:  db files\n", ["db", "files"]),
    (b"hosts: dns\nservices:\tnis [NOTFOUND=return UNAVAIL = continue] files # old\n", ["nis", "files"]),
    (b"#services: nis\n services : files sss\r\n", ["files", "sss"]),
    (b"passwd: files\n", ["files"]), (b"", ["files"]), (b"services:\n", []),
])
def test_sources_of_the_host(content, order):
    assert services_file.sources(content) == order


@pytest.fixture
def suse(tmp_path, monkeypatch):
    """A host without /etc/services and /etc/nsswitch.conf, which the distribution has below /usr/etc."""
    for name in ("etc", "usr"):
        (tmp_path / name).mkdir()
    for name, path in dict(SERVICES="etc/services", NSSWITCH="etc/nsswitch.conf", USR_SERVICES="usr/services",
                           USR_NSSWITCH="usr/nsswitch.conf").items():
        monkeypatch.setattr(services_file, name, str(tmp_path / path))
    (tmp_path / "usr" / "services").write_bytes(REDHAT)
    (tmp_path / "usr" / "nsswitch.conf").write_text("services: files usrfiles\n")
    # The C library here has its own paths: what it would make of these files is asked of what reads them as it does.
    monkeypatch.setattr(THIS_HOST, "service_port", lambda name, protocol=None: next((found[0] for found in [engine.lookup(
        parse(path.read_bytes() if path.exists() else b"") + parse(REDHAT), name, protocol)
        for path in [tmp_path / "etc" / "services"]] if found), None))
    return tmp_path / "etc" / "services"


def test_host_without_a_services_file_gets_one_with_what_moves(suse, fake_module):
    edit = ServicesEdit(str(suse), "boks", 6530, protocols_if_present=["udp"])
    assert (edit.previous, edit.resolved(), edit.shadowed) == ({"tcp": 6500, "udp": 6500}, {"tcp": 6500, "udp": 6500}, [])
    predicted = edit.commit(fake_module(check=True))
    assert not suse.exists()
    assert predicted == edit.commit(fake_module()) and predicted["diff"]["before"] == ""
    assert suse.read_bytes() == b"boks            6530/tcp\nboks            6530/udp\n" == predicted["diff"]["after"].encode()
    assert edit.resolved() == {"tcp": 6530, "udp": 6530}
    again = ServicesEdit(str(suse), "boks", 6530, protocols_if_present=["udp"])
    assert again.commit(fake_module())["changed"] is False
    gone = ServicesEdit(str(suse), "boks", None, protocols_if_present=["udp"], state="absent")
    assert gone.commit(fake_module(check=True)) == gone.commit(fake_module()) and not suse.exists()
    assert gone.resolved() == {"tcp": 6500, "udp": 6500}
    assert ServicesEdit(str(suse), "boks", None, state="absent").commit(fake_module())["changed"] is False


def test_services_file_that_lookups_do_not_go_by_is_taken_away_again(suse, fake_module, monkeypatch):
    monkeypatch.setattr(THIS_HOST, "service_port", lambda *unused: 6500)
    monkeypatch.setattr(services_file, "PATIENCE_WITH_CACHE", 0)
    edit = ServicesEdit(str(suse), "boks", 6530)
    monkeypatch.setattr(edit, "foreseen", lambda: None)
    with pytest.raises(ServicesFileError, match="the file was put back as it was"):
        edit.commit(fake_module())
    assert not suse.exists()


@pytest.mark.parametrize("sources", ["files", "usrfiles", "usrfiles files", "db"])
def test_services_file_is_not_made_where_lookups_would_not_ask_it_first(suse, sources):
    suse.with_name("nsswitch.conf").write_text("services: %s\n" % sources)
    with pytest.raises(FileError, match="does not exist"):
        ServicesEdit(str(suse), "boks", 6530)


def test_other_services_file_of_that_host_has_to_be_there(suse):
    with pytest.raises(FileError, match="does not exist"):
        ServicesEdit(str(suse) + "-other", "boks", 6530)


def test_host_lookup_is_that_of_the_c_library():
    assert THIS_HOST.service_port("no-such-service-here", "tcp") is None
    with open("/etc/services", "rb") as source:
        name = next((line.name for line in parse(source.read()) if line and line.protocol == "tcp"), None)
    if name is None:
        pytest.skip("this machine's /etc/services has no line with tcp")
    assert THIS_HOST.service_port(name, "tcp") == socket.getservbyname(name, "tcp")
    assert services_file.answered_by(THIS_HOST, name, "tcp", socket.getservbyname(name, "tcp")) is None


# --- against Augeas --------------------------------------------------------------------------------------------------


def tidy_file(pick):
    """What Augeas' lens for services can mostly read."""
    content = b""
    for _unused in range(pick.randrange(9)):
        name = pick.choice((b"boks", b"boks", b"ssh", b"x-%d" % pick.randrange(9)))
        content += pick.choice((
            b"# boks 6500/tcp\n", b"\n",
            b"%s%s%d/%s%s%s\n" % (name, pick.choice((b" ", b"\t\t", b"      ")), pick.randrange(1, 65536),
                                  pick.choice((b"tcp", b"tcp", b"udp")), some(0.3, pick, b" bk", b"\t\tbk bq", b" boks2"),
                                  some(0.3, pick, b" # BoKS", b"\t# 6500/tcp", b" #boks"))))
    return content


def test_edit_is_the_one_that_augeas_makes(tmp_path):
    augtool = shutil.which("augtool")
    if not augtool:
        pytest.skip("augtool is not installed here (Debian: augeas-tools, Fedora: augeas)")
    pick, seed = seeded()
    contents = [tidy_file(pick) for _unused in range(400)] + [REDHAT, DEBIAN]
    commands = ["set /augeas/load/Services/lens Services.lns"]
    for number, content in enumerate(contents):
        (tmp_path / ("services%03d" % number)).write_bytes(content)
        commands.append("set /augeas/load/Services/incl[last()+1] /services%03d" % number)
    commands.append("load")
    for number, content in enumerate(contents):
        there = "/files/services%03d/service-name" % number
        if resolve(content, "boks", "tcp"):
            commands.append("set %s[. = 'boks'][protocol = 'tcp'][1]/port 6530" % there)
        else:
            commands += ["set %s%s" % (there, rest) for rest in (
                "[last()+1] boks", "[last()]/port 6530", "[last()]/protocol tcp")]
    done = subprocess.run([augtool, "--noautoload", "--root", str(tmp_path)], text=True, check=True, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          input="\n".join(commands + ["save", "match /augeas/files//error"]) + "\n")
    unreadable = {number for number in range(len(contents)) if "/augeas/files/services%03d/error" % number in done.stdout}
    assert len(unreadable) < len(contents) // 10, (seed, done.stdout[-2000:])
    moved = 0
    for number, content in enumerate(contents):
        if number in unreadable:
            continue
        theirs, ours = (tmp_path / ("services%03d" % number)).read_bytes(), edited(content)
        assert ports(ours)[:2] == ports(theirs)[:2] == [6530, ports(content)[1]], (seed, content, ours, theirs)
        if resolve(content, "boks", "tcp"):
            assert ours == theirs, (seed, content)
            moved += 1
    assert moved > 100, (seed, moved)
