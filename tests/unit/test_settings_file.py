# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import re
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._bigfix import settings_file as engine
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError

PREFIX = b"Software\\BigFix\\EnterpriseClient\\Settings\\Client\\"
OLD_DATE = "Thu, 01 Jan 2015 00:00:00 +0000"
NEW_DATE = "Sat, 21 Nov 2026 20:18:00 +0000"
OLD_RAW = b"Thu,%2001%20Jan%202015%2000:00:00%20+0000"
NEW_RAW = b"Sat,%2021%20Nov%202026%2020:18:00%20+0000"


def section(name, value, date=OLD_RAW, eol=b"\n", head=PREFIX):
    lines = [b"[" + head + name + b"]", b"value                          = " + value]
    lines += [b"effective date                 = " + date] if date else []
    return eol.join(lines) + eol


OTHER = b"""[Software\\BigFix\\EnterpriseClient]
EnterpriseClientFolder         = /opt/BESClient

; caf\xe9: kept by hand
[Software\\BigFix\\EnterpriseClient\\GlobalOptions]
StoragePath                    = /var/opt/BESClient
an odd line

"""
RELAY = section(b"__RelayServer1", b"http://relay1.example.test:52311/bfmirror/downloads/")
NAP = section(b"_BESClient_Nap", b"a%20b")
FILE = OTHER + RELAY + b"\n" + NAP
FLAT = b"# installer\n__RelayServer1=http://relay1.example.test:52311/bfmirror/downloads/\n\n_BESClient_Nap = a%20b\n"


def settings(data, flat=False):
    return dict(engine.parse(data, flat).settings)


def with_settings(data, changes, date=NEW_DATE, flat=False):
    return engine.with_settings(data, changes, date, flat)


def variants(data):
    """The same file as other systems and editors leave it."""
    for eol in (b"\n", b"\r\n"):
        for bom in (b"", b"\xef\xbb\xbf"):
            for tail in (b"", eol, eol + eol, eol + b"  ", eol + b"# end", eol + b"# end" + eol, b"\r"):
                yield bom + data.rstrip(b"\n").replace(b"\n", eol) + tail


# --- reading

@pytest.mark.parametrize("data, flat, expected", [
    (FILE, False, {"__RelayServer1": "http://relay1.example.test:52311/bfmirror/downloads/", "_BESClient_Nap": "a b"}),
    (FLAT, True, {"__RelayServer1": "http://relay1.example.test:52311/bfmirror/downloads/", "_BESClient_Nap": "a b"}),
    (OTHER, False, {}),
    (b"# nothing set yet\n", True, {}),
    (b"\xef\xbb\xbf" + NAP, False, {"_BESClient_Nap": "a b"}),
    (NAP.replace(b"\n", b"\r\n"), False, {"_BESClient_Nap": "a b"}),
    (NAP.replace(b"Software\\BigFix", b"SOFTWARE\\bigfix"), False, {"_BESClient_Nap": "a b"}),
    (section(b"X", b"caf\xe9"), False, {"X": "caf\xe9"}),
    (section(b"X", b"caf%E9"), False, {"X": "caf\xe9"}),
    (section(b"X", b"caf%C3%A9"), False, {"X": "caf\xe9"}),
    (section(b"X", b"100%"), False, {"X": "100%"}),
    (section(b"X", b"a=b"), False, {"X": "a=b"}),
    (section(b"X", b""), False, {"X": ""}),
    (b"[" + PREFIX + b"X]\n\nVALUE=1", False, {"X": "1"}),
    (b"[" + PREFIX + b"X]\neffective date = " + OLD_RAW, False, {}),
    (b"[" + PREFIX + b"X\\Sub]\nvalue = 1\n[" + PREFIX + b"Y\nvalue = 2\n", False, {}),
    (b"[" + PREFIX + b"a[b]\nvalue = 1\n[main]\nvalue = 3\n", False, {}),
    (section(b"X", b"1") + section(b"x", b"1"), False, {"X": "1"}),
])
def test_settings_read_as_text(data, flat, expected):
    assert settings(data, flat) == expected


@pytest.mark.parametrize("data, flat, sentence", [
    (b"", False, "the file is empty; restore it from a backup, or let the agent write it again"),
    (b"\xef\xbb\xbf\r\n \n", True, "the file is empty; restore it from a backup, or let the agent write it again"),
    (FILE.decode("latin-1").encode("utf-16"), False, "the file holds NUL bytes or a UTF-16 byte order mark, which the "
     "agent never writes; save it as plain text"),
    (FLAT + b"\0", True, "the file holds NUL bytes or a UTF-16 byte order mark, which the agent never writes; save it "
     "as plain text"),
    (b"[main]\nvalue = 1\n", False, "not a settings file of the agent: no section begins with [Software\\BigFix; "
     "name besclient.config, besrelay.config or besserver.config"),
    (b"A=1\n\n# x\nB 2\n", True, "line 4 is not of the form NAME=VALUE; correct it, or put # in front of it"),
    (b"A=1\n = 2\n", True, "line 2 is not of the form NAME=VALUE; correct it, or put # in front of it"),
    (section(b"X", b"1") + section(b"x", b"2"), False,
     'the setting X has two values: "********" in line 2, "********" in line 5; remove one'),
    (section(b"_BESRelay_HTTPServer_PortNumber", b"1\nvalue=2"), False,
     'the setting _BESRelay_HTTPServer_PortNumber has two values: "1" in line 2, "2" in line 3; remove one'),
    (b"__RelayServer1=http://a:1/?k=x\n__relayserver1=http://u:p@a:2/\n", True, 'the setting __RelayServer1 has two values: '
     '"http://a:1/?********" in line 1, "http://********@a:2/" in line 2; remove one'),
    (b"My:Password@=hunter1\nmy:password@=hunter2\n", True,
     'the setting ******** has two values: "********" in line 1, "********" in line 2; remove one'),
    (b"MyPassword=hunter1\nMyPassword=hunter2\n", True,
     'the setting MyPassword has two values: "********" in line 1, "********" in line 2; remove one'),
])
def test_files_that_cannot_be_read_without_guessing_are_refused(data, flat, sentence):
    for call in (lambda: engine.parse(data, flat), lambda: with_settings(data, {"X": "1"}, flat=flat),
                 lambda: engine.with_port_rewritten(data, 1, 2, flat)):
        with pytest.raises(engine.SettingsError) as refused:
            call()
        assert str(refused.value) == sentence
        assert isinstance(refused.value, EngineError)


# --- setting and removing

@pytest.mark.parametrize("before, changes, after", [
    (FILE, {"_BESClient_Nap": "a c"}, OTHER + RELAY + b"\n" + section(b"_BESClient_Nap", b"a%20c", NEW_RAW)),
    (FILE, {"_besclient_NAP": "1"}, OTHER + RELAY + b"\n" + section(b"_BESClient_Nap", b"1", NEW_RAW)),
    (FILE, {"_BESClient_Nap": "a b"}, FILE),
    (FILE, {}, FILE),
    (FILE, {"absent": None}, FILE),
    (FILE, {"New": "h:1/a,b+c;50%"}, FILE + b"\n" + section(b"New", b"h:1/a,b+c;50%25", NEW_RAW)),
    (FILE, {"New": "\xe9"}, FILE + b"\n" + section(b"New", b"%C3%A9", NEW_RAW)),
    (FILE, {"_BESClient_Nap": None}, OTHER + RELAY),
    (FILE, {"__RelayServer1": None}, OTHER + NAP),
    (FILE, {"__RelayServer1": None, "_BESClient_Nap": None}, OTHER[:-1]),
    (RELAY + b"\n" + NAP, {"__RelayServer1": None}, NAP),
    (RELAY + b"\n# the nap\n" + NAP, {"__RelayServer1": None}, b"# the nap\n" + NAP),
    (RELAY + b"# the nap\n" + NAP, {"__RelayServer1": None}, b"# the nap\n" + NAP),
    (FILE, {"__RelayServer1": None, "New": "1"}, OTHER + NAP + b"\n" + section(b"New", b"1", NEW_RAW)),
    # the file's own spelling of the prefix, spacing and line ending
    (b"[SOFTWARE\\BigFix\\EnterpriseClient\\Settings\\Client\\X]\r\nvalue=1\r\n", {"Y": "2"},
     b"[SOFTWARE\\BigFix\\EnterpriseClient\\Settings\\Client\\X]\r\nvalue=1\r\n\r\n"
     b"[SOFTWARE\\BigFix\\EnterpriseClient\\Settings\\Client\\Y]\r\nvalue=2\r\neffective date=" + NEW_RAW + b"\r\n"),
    (OTHER[:-1], {"X": "1"}, OTHER + section(b"X", b"1", NEW_RAW)),
    # lines that a section lacks
    (section(b"X", b"1", None), {"X": "2"}, section(b"X", b"2", NEW_RAW)),
    (section(b"X", b"1", None)[:-1], {"X": "2"}, section(b"X", b"2", NEW_RAW)[:-1]),
    (b"[" + PREFIX + b"X]\n  value  = 1\n# x\n", {"X": "2"},
     b"[" + PREFIX + b"X]\n  value  = 2\n  effective date = " + NEW_RAW + b"\n# x\n"),
    (b"[" + PREFIX + b"X]\nvalue\t=\t1\n", {"X": "2"},
     b"[" + PREFIX + b"X]\nvalue\t=\t2\neffective date\t=\t" + NEW_RAW + b"\n"),
    (b"[" + PREFIX + b"X]\n\neffective date      = " + OLD_RAW, {"X": "2"},
     b"[" + PREFIX + b"X]\nvalue               = 2\n\neffective date      = " + NEW_RAW),
    (NAP + b"[" + PREFIX + b"X]", {"X": ""}, NAP + section(b"X", b"", NEW_RAW)[:-1]),
    # duplicates that agree are edited, and removed, together
    (section(b"X", b"1") + OTHER + section(b"x", b"1\nvalue=1"), {"X": "2"},
     section(b"X", b"2", NEW_RAW) + OTHER + section(b"x", b"2\nvalue=2", NEW_RAW)),
    (section(b"X", b"1") + section(b"x", b"1") + OTHER, {"X": None}, OTHER),
    (section(b"X", b"1") + section(b"x", b"1"), {"X": "1"}, section(b"X", b"1") + section(b"x", b"1")),
    # an empty value says nothing of the blanks after the "="
    (b"[" + PREFIX + b"X]\nvalue =\n", {"Y": "2"}, b"[" + PREFIX + b"X]\nvalue =\n\n[" + PREFIX + b"Y]\nvalue = 2\n"
     b"effective date = " + NEW_RAW + b"\n"),
])
def test_only_what_was_asked_for_changes(before, changes, after):
    assert with_settings(before, changes) == after


@pytest.mark.parametrize("before, changes, after", [
    (FLAT, {"_BESClient_Nap": "c d"}, FLAT.replace(b"a%20b", b"c%20d")),
    (FLAT, {"_BESClient_Nap": "a b"}, FLAT),
    (FLAT, {"New": "1"}, FLAT + b"New=1\n"),
    (FLAT[:-1], {"New": "1"}, FLAT + b"New=1"),
    (FLAT, {"__RelayServer1": None}, b"# installer\n\n_BESClient_Nap = a%20b\n"),
    (b"A=1\r\n", {"New": "1", "A": None}, b"New=1\r\n"),
    (b"\xef\xbb\xbfA=1\n", {"New": "1", "A": None}, b"\xef\xbb\xbfNew=1\n"),
])
def test_flat_files_hold_no_sections_and_no_dates(before, changes, after):
    assert with_settings(before, changes, None, flat=True) == after


NO_NAME = ("%s is no name of a setting: it is empty, begins or ends with a blank, or holds [, ] or a backslash; "
           "correct it")
FLAT_NAME = "%s is no name of a setting for a file of NAME=VALUE lines: it holds = or begins like a comment; correct it"


@pytest.mark.parametrize("changes, flat, sentence", [
    ({"": "1"}, False, NO_NAME % "''"),
    ({" X": "1"}, False, NO_NAME % "' X'"),
    ({"a[b": "1"}, False, NO_NAME % "'a[b'"),
    ({"a]b": None}, False, NO_NAME % "'a]b'"),
    ({"a\\b": "1"}, False, NO_NAME % repr("a\\b")),
    ({"a\nb": "1"}, False, "the name 'a\\nb' of a setting holds a line break or a control character; "
     "a setting is one line of text"),
    ({5: "1"}, False, "the name 5 of a setting is not text; put it in quotes"),
    ({"a=b": "1"}, True, FLAT_NAME % "'a=b'"),
    ({"#a": "1"}, True, FLAT_NAME % "'#a'"),
    ({"X": "a\r\nb"}, False, "the value of X holds a line break or a control character; a setting is one line of text"),
    ({"X": "\x1b[0m"}, True, "the value of X holds a line break or a control character; a setting is one line of text"),
    ({"X": "a\u2028b"}, False, "the value of X holds a line break or a control character; "
     "a setting is one line of text"),
    ({"X": "\udc80"}, False, "the value of X holds a line break or a control character; a setting is one line of text"),
    ({"X": 55000}, False, "the value of X is not text; put it in quotes"),
    ({"X": "1", "x": "1"}, False, "the setting x is asked for twice, in different case; ask once"),
])
def test_names_and_values_that_no_line_can_hold_are_refused(changes, flat, sentence):
    with pytest.raises(engine.SettingsError) as refused:
        with_settings(FLAT if flat else FILE, changes, flat=flat)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("date, sentence", [
    ("a\nb", "the effective date holds a line break or a control character; a setting is one line of text"),
    (None, "the effective date is not text; put it in quotes"),
])
def test_an_effective_date_that_no_line_can_hold_is_refused(date, sentence):
    with pytest.raises(engine.SettingsError) as refused:
        with_settings(FILE, {}, date)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("data", [data for file in (FILE, OTHER, NAP) for data in variants(file)])
def test_appending_and_then_removing_gives_the_same_bytes(data):
    one = with_settings(data, {"New": "1"})
    two = with_settings(one, {"Newer": "2"})
    assert settings(two) == dict(settings(data), New="1", Newer="2")
    assert one.endswith(b"\n") == data.endswith(b"\n")
    assert with_settings(two, {"Newer": None}) == one
    assert with_settings(one, {"New": None}) == data
    assert with_settings(two, {"Newer": None, "New": None}) == data
    assert with_settings(with_settings(two, {"New": None}), {"Newer": None}) == data
    assert with_settings(with_settings(data, {"New": "1", "Newer": "2"}), {"Newer": None, "New": None}) == data


@pytest.mark.parametrize("data", list(variants(FLAT)))
def test_appending_and_then_removing_gives_the_same_bytes_of_a_flat_file(data):
    if data.endswith(b"# end"):
        data += b" of file"
    two = with_settings(data, {"New": "1", "Newer": "2"}, flat=True)
    assert settings(two, True) == dict(settings(data, True), New="1", Newer="2")
    assert with_settings(two, {"Newer": None, "New": None}, flat=True) == data


printable = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")))
names = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp"), blacklist_characters="[]\\=#;"),
                min_size=1).filter(lambda name: name == name.strip())
files = st.sampled_from(list(variants(FILE)))


@given(files, st.dictionaries(names, printable, max_size=3), printable)
def test_what_was_set_is_what_is_read(data, new, value):
    assume(len({name.lower() for name in [*new, *settings(FILE)]}) == len(new) + 2)
    wanted = dict(new, _BESClient_Nap=value)
    assert settings(with_settings(data, wanted)) == dict(settings(data), **wanted)
    flat = with_settings(FLAT, wanted, flat=True)
    assert settings(flat, True) == dict(settings(FLAT, True), **wanted)


@given(files, printable)
def test_every_byte_outside_value_and_date_stays_and_comes_back(data, value):
    after = with_settings(data, {"_BESClient_Nap": value})
    if value == "a b":
        assert after == data
        return
    begin = data.index(b"a%20b")
    middle, date = data[begin + 5:data.rindex(OLD_RAW)], data.rindex(OLD_RAW)
    assert after.startswith(data[:begin])
    assert after.endswith(middle + NEW_RAW + data[date + len(OLD_RAW):])
    assert with_settings(after, {"_BESClient_Nap": "a b"}, OLD_DATE) == data


# --- ports of URLs

@pytest.mark.parametrize("before, after", [
    (b"http://relay1.example.test:52311/bfmirror/downloads/", b"http://relay1.example.test:55000/bfmirror/downloads/"),
    (b"HTTPS://relay1:52311", b"HTTPS://relay1:55000"),
    (b"http://[2001:db8::1]:52311/", b"http://[2001:db8::1]:55000/"),
    (b"http://[fe80::52311%25eth0]:52311/", b"http://[fe80::52311%25eth0]:55000/"),
    (b"http://u:52311@relay1:52311/", b"http://u:52311@relay1:55000/"),
    (b"http://u:p@ss@relay1:52311?x", b"http://u:p@ss@relay1:55000?x"),
    (b"http%3a%2f%2frelay1%3A52311%2fx", b"http%3a%2f%2frelay1%3A55000%2fx"),
    (b"http%3a%2f%2f%5b::1%5d%3a52311", b"http%3a%2f%2f%5b::1%5d%3a55000"),
    (b"http://caf\xe9:52311/", b"http://caf\xe9:55000/"),
    (b"http://a:52311;http://b:52311,http://c:52311|http://d:52312",
     b"http://a:55000;http://b:55000,http://c:55000|http://d:52312"),
    (b"http://a:52311; http://b:52311%20", b"http://a:55000; http://b:55000%20"),
    (b"http://a:52311%3Bhttp://b:52311%2chttp://c:52311", b"http://a:55000%3Bhttp://b:55000%2chttp://c:55000"),
    (b"relay0;http://a:52311;52311;b:52311", b"relay0;http://a:55000;52311;b:52311"),
    (b"http://a:52311 http://b:52311%20http://c/", b"http://a:55000 http://b:55000%20http://c/"),
])
def test_the_port_of_urls_moves_and_moves_back(before, after):
    for flat in (False, True):
        wrap = (lambda value: b"A=52311\nX=" + value) if flat else (lambda value: FILE + section(b"X", value))
        data = wrap(before)
        moved, names_moved = engine.with_port_rewritten(data, 52311, 55000, flat)
        assert moved.endswith(after + data[data.rindex(before) + len(before):])
        assert names_moved == (["X"] if flat else ["__RelayServer1", "X"])
        assert len(moved) == len(data)
        assert engine.with_port_rewritten(moved, 55000, 52311, flat) == (data, names_moved)


@pytest.mark.parametrize("value", [
    b"52311", b"relay1:52311", b"//relay1:52311/", b"ftp://relay1:52311/", b"http://relay1:523110/",
    b"http://relay1:5231/", b"http://relay1:052311/", b"http://relay1/?u=:52311/", b"http://relay1/a:52311/",
    b"http://relay1/?u=http://b:52311/", b"http://relay1/?u=http%3a%2f%2fb%3a52311%2f", b"http%3a%2f%2fa%2fb%3a52311",
    b"http%3a%2f%2fa%2fx@b:52311", b"http://52311/", b"http://u:52311@relay1/", b"http://[::52311]/", b"http://:52311/",
    b"see http://relay1:52311/", b"http://relay1:52311/ is%20old", b"moved, see%20http://relay1:52311/",
    b"moved here, http://relay1:52311/", b"xhttp://relay1:52311/", b"http://relay1:52311x/", b"",
])
def test_what_is_no_port_of_a_url_stays(value):
    data = OTHER + section(b"X", value)
    assert engine.with_port_rewritten(data, 52311, 55000) == (data, [])
    assert engine.with_port_rewritten(b"X=" + value, 52311, 55000, flat=True) == (b"X=" + value, [])


def test_other_sections_of_the_agent_keep_their_urls():
    line = b"]\nvalue = http://a:52311/\n"
    data = b"[Software\\BigFix\\Enterprise Server" + line + b"[" + PREFIX + b"X\\Y" + line
    assert engine.with_port_rewritten(data, 52311, 55000) == (data, [])


@pytest.mark.parametrize("name, value, found", [
    (b"_BESClient_RelaySelect_FailoverRelayList", b"host:52311;host:52311", (True, True)),
    (b"_BESClient_RelaySelect_TertiaryRelayList", b"http://a:52311/x,b:52311/bfmirror", (True, True)),
    (b"__relayserver1", b"host%3a52311", (True, True)), (b"__RelayServer2", b"[2001:db8::1]:52311", (True, True)),
    (b"__RelayServer1", b"//host:52311/", (True, True)), (b"__RelayServer1", b"host:40000", (False, True)),
    (b"_BESRelay_UploadManager_ParentURL", b"see host:52311", (True, True)),
    (b"__RelayServer1", b"http://a:52311/", (False, False)), (b"__RelayServer1", b"host", (False, False)),
    (b"__RelayServer1", b"", (False, False)), (b"_BESClient_RelaySelect_Port", b"52311", (False, False)),
    (b"_Custom", b"a:52311;b:52311", (True, False)), (b"_Custom", b"http://a:52311/;b:52311", (True, False)),
    (b"_Custom", b"see b:52311", (False, False)), (b"_Custom", b"u:p@b:52311", (False, False)),
    (b"_Custom", b"a:40000", (False, False)),
])
def test_an_address_without_a_scheme_is_named_and_left_alone(name, value, found):
    data = OTHER + NAP + section(name, value)
    assert tuple(engine.bare_addresses(data, port) == [name.decode()] for port in (52311, None)) == found
    flat = name + b"=" + value
    assert tuple(engine.bare_addresses(flat, port, flat=True) == [name.decode()] for port in (52311, None)) == found
    if b"http" not in value:
        assert name.decode() not in engine.with_port_rewritten(data, 52311, 55000)[1]


def test_a_port_is_not_moved_to_itself():
    with pytest.raises(engine.SettingsError) as refused:
        engine.with_port_rewritten(FILE, 52311, 52311)
    assert str(refused.value) == "the old and the new port are both 52311; name two different ports"


words = st.sampled_from(["http://a:52311", "https://b:52311/x:52311", "http://[::1]:52311", "c:52311", "52311", "x",
                         "http%3a%2f%2fd%3a52311", ";", ",", "|", " ", "%20", "%", "@", "http://u:p@e:52311?", "/",
                         ":"])


@given(files, st.lists(words).map("".join), st.integers(1, 65535))
def test_moving_ports_touches_digits_only_and_moving_back_restores(data, value, new):
    data = data + b"\n" + section(b"X", value.encode())
    assume(str(new).encode() not in data)
    moved, names_moved = engine.with_port_rewritten(data, 52311, new)
    assert moved.replace(str(new).encode(), b"52311") == data
    assert engine.with_port_rewritten(moved, new, 52311) == (data, names_moved)


# --- what may be shown

MASK = "********"
PORT_OF_RELAYS = b"_BESRelay_HTTPServer_PortNumber"
CONFIG = b"""\xef\xbb\xbf; by hand: hunter0
[Software\\BigFix\\EnterpriseClient\\Proxy]
ProxyUser                      = bob
[%(prefix)s_BESClient_SecureRegistration]
value                          =  hunter2\x20
effective date                 = %(date)s
[%(prefix)sSiteAccess]
value                          = hunter3
effective date                 = hunter4
other                          = hunter5
[%(prefix)s__RelayServer1]
value                          = http://bob:hunter6@a:52311/x;https://b:52311/?key=hunter7#hunter8;c:52311
[%(prefix)s_BESRelay_HTTPServer_PortNumber]
value                          = 52311
hunter9
[%(prefix)s_Custom]
value                          = http://bob:hunter@1@b:52311/x@y;http://c:40000/
[%(prefix)s_Encoded]
value                          = http%%3a%%2f%%2fbob:hunter%%405%%40c:52311/x%%3fpwd%%3dhunter1
[hunter
value                          = hunter
[main]
value                          = hunter
[%(prefix)s_X] hunter
value                          = hunter
\xff\xfehunter
""".replace(b"\n", b"\r\n") % {b"prefix": PREFIX, b"date": OLD_RAW}
SHOWN_CONFIG = b"""\xef\xbb\xbf********
[Software\\BigFix\\EnterpriseClient\\Proxy]
********
[%(prefix)s_BESClient_SecureRegistration]
value                          =  ********\x20
effective date                 = %(date)s
[%(prefix)sSiteAccess]
value                          = ********
********
********
[%(prefix)s__RelayServer1]
value                          = http://********@a:52311/x;https://b:52311/?********#********;c:52311
[%(prefix)s_BESRelay_HTTPServer_PortNumber]
value                          = 52311
********
[%(prefix)s_Custom]
value                          = ********:52311********
[%(prefix)s_Encoded]
value                          = ********:52311********
********
********
********
********
********
********
********
""".replace(b"[main]\n", b"********\n").replace(b"\n", b"\r\n") % {b"prefix": PREFIX, b"date": OLD_RAW}


def test_a_diff_shows_what_is_known_to_be_harmless_and_of_other_values_the_port_that_moves():
    assert engine.redacted(CONFIG, ports=(52311, 55000)) == SHOWN_CONFIG
    assert engine.redacted(CONFIG[:-2], ports=(52311, 55000)) == SHOWN_CONFIG[:-2]
    assert engine.redacted(CONFIG) == SHOWN_CONFIG.replace(b"********:52311********", b"********")


def test_what_an_edit_changes_is_seen_in_its_diff():
    before = FILE + section(PORT_OF_RELAYS, b"52311") + section(b"_Custom", b"http://a:52311/;http://u:p@b:52311/?k=v")
    after = engine.with_port_rewritten(with_settings(before, {PORT_OF_RELAYS.decode(): "55000"}), 52311, 55000)[0]
    old, new = (engine.redacted(data, ports=(52311, 55000)).splitlines() for data in (before, after))
    assert [pair for pair in zip(old, new) if pair[0] != pair[1]] == [
        (b"value                          = " + one, b"value                          = " + one.replace(b"52311", b"55000"))
        for one in (b"http://relay1.example.test:52311/bfmirror/downloads/",)] + [
        (b"value                          = 52311", b"value                          = 55000"),
        (b"effective date                 = " + OLD_RAW, b"effective date                 = " + NEW_RAW),
        (b"value                          = ********:52311********:52311********",
         b"value                          = ********:55000********:55000********")]


@pytest.mark.parametrize("before, after", [
    (b"A=1\n__RelayServer1 = http://u:p@a:1/\n", b"********\n__RelayServer1 = http://********@a:1/\n"),
    (b"_BESClient_RelaySelect_Port=55000", b"_BESClient_RelaySelect_Port=55000"),
    (b"MyPassword=\n", b"********\n"), (b"  MyPassword: hunter\r\n", b"  ********\r\n"),
    (b"# password = hunter", b"********"), (b"#__RelayServer1=http://a/", b"********"),
    (b"hunter2==\n\n", b"********\n\n"), (b"[x]\n", b"********\n"),
    (b"RESTURL=https://localhost:52311/api\nUSERNAME=hunter\n", b"RESTURL=https://localhost:52311/api\n********\n"),
    (b"restUrl = \"https://u:p@localhost:52311/api?k=v\"\n", b"restUrl = \"https://********@localhost:52311/api?********\"\n"),
    ("MyPassword=hunter".encode("utf-16"), b"********"), (b"", b""),
])
def test_a_flat_file_shows_the_settings_that_are_known_alone(before, after):
    assert engine.redacted(before, flat=True) == after


@pytest.mark.parametrize("name, value, shown", [
    ("_BESClient_RelaySelect_Port", "55000", "55000"), ("_besclient_RELAYSELECT_port", "none", "none"),
    ("__RelayServer2", "http://a.test:52311/bfmirror/downloads/", "http://a.test:52311/bfmirror/downloads/"),
    ("__RelayServer1", "https://u:p@ss@[fe80::1%eth0]:52311/x?key=y#z", "https://********@[fe80::1%eth0]:52311/x?********#********"),
    ("__RelayServer1", "http://a:1; relay2:52311|[::1]:7", "http://a:1; relay2:52311|[::1]:7"),
    ("__RelayServer1", "http://bob:12/hunter@host:52311/", "http://********"),
    ("__RelayServer1", "http://bob:12;hunter@host:52311/", MASK), ("__RelayServer1", "bob:hunter@host:52311", MASK),
    ("__RelayServer1", "http://bob:hunter/2@host/", MASK), ("__RelayServer1", "ftp://a/;hunter=2", MASK),
    ("__RelayServer1", "http://a/?u=http://u:p@b/", "http://********"),
    ("__RelayServer1", "http://u%3ap%40a:52311/", "********:52311********"),
    ("__RelayServer1", "http://a/%3fkey=hunter", "http://a/********"),
    ("RESTURL", "https://localhost:52311/api", "https://localhost:52311/api"), ("__RelayServer1", "", ""),
    ("_BESClient_SecureRegistration", "hunter", MASK), ("SiteAccess", "55000", MASK), ("_Custom", "", MASK),
    ("_Custom", "http://a:55000/x", "********:55000********"), ("_Custom", "http://a:52312/x", MASK),
    ("_Custom", "http://u:55000@a/x", MASK), ("_Custom", "see http://a:55000/ x", MASK), ("_Custom", "pwd=a:55000", MASK),
    ("_Custom", "http://a:55000/;http://u:p@b:52311", "********:55000********:52311********"),
])
def test_a_value_is_shown_as_far_as_it_is_known_to_be_harmless(name, value, shown):
    assert engine.shown_value(name, value, (52311, 55000)) == shown


def test_returned_settings_show_listed_names_and_no_others():
    assert engine.shown_settings({"a": "1", "_BESRelay_HTTPServer_PortNumber": "2", "gone": None, "x=hunter": "y"}) == {
        "a": MASK, "_BESRelay_HTTPServer_PortNumber": "2", "gone": None, MASK: MASK}


CANARY = "c4n4ry"
around = st.text(st.sampled_from("ab1:/?#@;,| %=&\"'[]().-_\\\u00e9"), max_size=12)
holding = st.builds(lambda left, right: left + CANARY + right, around, around)
urls = st.builds(lambda start, rest: start + rest, st.sampled_from(
    ["http://", "https://u:", "http://a:52311/?", "http://a:52311/x#", "http%3a%2f%2f", "http://a:52311;", "a:52311;"]), holding)
not_listed = names.filter(lambda name: name.lower() not in engine.SHOWN)


@given(not_listed, holding | urls, st.booleans())
def test_no_value_of_an_unlisted_name_is_shown(name, value, flat):
    data = with_settings(FLAT if flat else FILE, {name: value}, flat=flat)
    ports = (52311, 55000)
    assert CANARY not in engine.redacted(data, flat, ports).decode("utf-8", "replace").replace(name, "")
    assert CANARY not in str(engine.shown_settings(settings(data, flat), ports)).replace(name, "")
    # What looks like a file of one kind and is one of another.
    assert CANARY not in engine.redacted(data, not flat, ports).decode("utf-8", "replace").replace(name, "")


secret_part = st.text(st.sampled_from("abc1:@!$&'()*+=-._~"), max_size=8).map(lambda text: text + CANARY)


@given(st.sampled_from(["http", "HTTPS"]), secret_part, secret_part, secret_part, st.booleans())
def test_no_user_info_query_or_fragment_of_a_listed_url_is_shown(scheme, user, query, fragment, encoded):
    url = "%s://%s@host.test:52311/a/b?%s#%s" % (scheme, user, query, fragment)
    raw = re.sub("[:/?#@]", lambda found: "%%%02x" % ord(found.group()), url) if encoded else url
    data = FILE + section(b"__RelayServer2", raw.encode())
    for shown in (engine.redacted(data).decode("latin-1"), engine.shown_settings(settings(data))["__RelayServer2"]):
        assert CANARY not in shown and "%s://********@host.test:52311/a/b?********#********" % scheme in shown


@given(st.binary(max_size=60), st.binary(max_size=60), st.booleans())
def test_no_line_that_is_not_understood_is_shown(before, after, flat):
    line = (before + CANARY.encode() + after).replace(b"\n", b"").replace(b"\r", b"")
    assume(b"=" not in line and not line.strip().startswith(b"[") and b"\0" not in line)
    for data in (FILE + line, FILE + line + b"\n" + NAP, line + b"\n" + FILE):
        assert CANARY.encode() not in engine.redacted(data, flat)


@given(st.binary(), st.booleans())
def test_no_bytes_raise_anything_but_a_sentence(noise, flat):
    for data in (noise, FILE[:200] + noise + FILE[200:]):
        engine.redacted(data, flat)
        try:
            found = engine.parse(data, flat).settings
            engine.with_port_rewritten(data, 52311, 55000, flat)
            with_settings(data, {name: None for name in found if re.match(r"\w+\Z", name)}, flat=flat)
        except engine.SettingsError as err:
            assert str(err)


@pytest.mark.parametrize("data", [
    section(b"X", b"http://" + b"u@" * 500000 + b":52311"),
    section(b"X", b"http://a:52311 " * 50000),
    section(b"X", b"%3a%2f%2f" * 200000 + b"52311@"),
    section(b"X", b" " * 1000000 + b"x"),
    section(b"X", b"://" * 300000),
    b"".join(section(b"X%d" % number, b"http://a:52311/") for number in range(5000)),
    b"\n" * 300000 + FILE,
])
def test_large_files_take_linear_time(data):
    begin = time.process_time()
    engine.redacted(data)
    engine.with_port_rewritten(data, 52311, 55000)
    with_settings(data, dict.fromkeys(settings(data)))
    assert time.process_time() - begin < 30  # a quadratic step would take hours
