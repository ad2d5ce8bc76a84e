# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""change_tracker_hub_url, run in a process of its own as on a host: what it changes, what it says, and what it never shows."""

import codecs
import json
import os
import stat
import sys

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileError
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.hub_edit import HubEdit
from ansible_collections.portshift.agents.tests.unit import growth
from tests.integration import direct_module
from tests.integration.folder_snapshot import snapshot
from tests.lab.managed_python import managed_python

OLD_URL, NEW_URL = "https://hub.example.test/api/", "https://hub.example.test:8443/api/"
FILE = """<?xml version="1.0" encoding="utf-8"?>
<!-- was <Url>https://old.example.test/api/</Url>, password oldpass-0 -->
<HubDetails xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">
  <Url>https://hub.example.test/api/</Url>
  <Username>agent-7Qz</Username>
  <Password>password-8Lm</Password>
  <E1>ciphertext-9Kw==</E1>
  <Proxy>http://proxyuser-1:proxypass-2@proxy.example.test:3128</Proxy>
  <ProxyDomain>PROXYDOMAIN-3</ProxyDomain>
  <ProxyUsername>proxyuser-4</ProxyUsername>
  <ProxyPassword><![CDATA[proxypass-5]]></ProxyPassword>
  <UseDefaultProxy>false</UseDefaultProxy>
  <NamePrefix>PRE-</NamePrefix>
</HubDetails>
"""
SECRETS = ("oldpass-0", "agent-7Qz", "password-8Lm", "ciphertext-9Kw", "proxyuser-1", "proxypass-2", "PROXYDOMAIN-3",
           "proxyuser-4",
           "proxypass-5", "hunter2")
URL = "<Url>%s</Url>" % OLD_URL

# Says how many megabytes its command needed, on the last line of stderr.  In a small process of its own: a child begins with
# the memory that its parent had.
METER = """
import os, sys
child = os.fork()
if not child:
    os.execvp(sys.argv[1], sys.argv[1:])
print("\\n%d" % (os.wait4(child, 0)[2].ru_maxrss / 1024), file=sys.stderr)
"""


def run(arguments, check=False, prefix=(), name="change_tracker_hub_url"):
    """The module's result, once it is known that nothing that it printed holds a secret."""
    arguments = dict(arguments, _ansible_check_mode=check, _ansible_diff=True, _ansible_verbosity=3)
    done = direct_module.run(name, arguments, prefix)
    assert not [secret for secret in SECRETS if secret in done.stdout + done.stderr]
    assert "Traceback" not in done.stdout + done.stderr
    result = direct_module.result(done.stdout, done.stderr)
    result["stderr"] = done.stderr
    return result


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "host"
    path.mkdir()
    return path


@pytest.fixture
def put(folder):
    def write(content, name="HubDetails.xml", mode=0o600):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        path.chmod(mode)
        return path
    return write


@pytest.fixture
def refused(folder):
    """refused(sentence, arguments): it fails with that sentence in both modes, and the folder is as it was."""
    def call(sentence, arguments, **options):
        before = snapshot(folder)
        for check in (True, False):
            result = run(dict(dict(backup=True), **arguments), check, **options)
            assert result.get("failed") is True and sentence in result["msg"], result
            assert snapshot(folder) == before
        return result
    return call


# --- what it changes

@pytest.mark.parametrize("content", [
    FILE.encode(), codecs.BOM_UTF8 + FILE.replace("\n", "\r\n").encode(), FILE.rstrip().replace("  <", "\t<").encode(),
    codecs.BOM_UTF16_LE + FILE.replace("utf-8", "utf-16").encode("utf-16-le"),
    FILE.replace("utf-8", "windows-1252").replace("PRE-", "PR\xc9\u20ac").encode("cp1252"),
], ids=["utf-8", "mark and crlf", "tabs", "utf-16", "windows-1252"])
def test_the_port_moves_and_nothing_else(put, folder, content):
    path = put(content, mode=0o640)
    arguments = dict(path=[str(path)], port=8443, backup=True)
    before = snapshot(folder)
    predicted = run(arguments, check=True)
    assert snapshot(folder) == before, "check mode wrote something"
    result = run(arguments)
    assert (predicted["changed"], result["changed"], predicted["diff"]) == (True, True, result["diff"])
    assert (result["path"], result["url"], result["previous_url"]) == (str(path), NEW_URL, OLD_URL)
    assert (predicted["url"], predicted["port"], predicted["previous_port"]) == (NEW_URL, 8443, 443)
    # The port's five characters, in the encoding of the file.
    at = content.index("/api/</Url>".encode("utf-16-le" if content[:1] == b"\xff" else "ascii"), content.index(b"\x3e") + 150)
    inserted = ":8443".encode("utf-16-le" if content[:1] == b"\xff" else "ascii")
    assert path.read_bytes() == content[:at] + inserted + content[at:]
    with open(result["backup_file"], "rb") as source:
        assert source.read() == content
    kept = [(stat.S_IMODE(os.stat(name).st_mode), os.stat(name).st_uid) for name in (path, result["backup_file"])]
    assert kept == [(0o640, os.geteuid())] * 2
    after = snapshot(folder)
    again = run(arguments)
    assert (again["changed"], again["url"], again["previous_url"], snapshot(folder)) == (False, NEW_URL, NEW_URL, after)
    assert "backup_file" not in again


def test_the_diff_shows_the_url_in_a_masked_file(put):
    result = run(dict(path=[str(put(FILE))], port=8443), check=True)
    lines = [sorted(set(result["diff"][one].splitlines()) - set(result["diff"][other].splitlines()))
             for one, other in (("before", "after"), ("after", "before"))]
    assert lines == [["  <Url>%s</Url>" % OLD_URL], ["  <Url>%s</Url>" % NEW_URL]]
    shown = result["diff"]["after"]
    assert shown.count("********") == 8 and "<NamePrefix>PRE-</NamePrefix>" in shown and "<E1>********</E1>" in shown


def test_another_url_is_put_in_and_taken_back(put):
    path = put(FILE)
    result = run(dict(path=[str(path)], url="https://hub2.example.test:444/api"))
    assert (result["url"], result["previous_url"], result["port"]) == ("https://hub2.example.test:444/api", OLD_URL, 444)
    assert path.read_bytes() == FILE.replace(URL, "<Url>https://hub2.example.test:444/api</Url>").encode()
    assert run(dict(path=[str(path)], url=result["previous_url"]))["changed"] is True
    assert path.read_bytes() == FILE.encode()


def test_a_link_stays_a_link(put, folder):
    path = put(FILE, "real.xml", mode=0o644)
    (folder / "HubDetails.xml").symlink_to("real.xml")
    assert run(dict(path=[str(folder / "HubDetails.xml")], port=8443))["changed"] is True
    assert os.readlink(folder / "HubDetails.xml") == "real.xml"
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (FILE.replace(OLD_URL, NEW_URL).encode(), 0o644)


def test_a_record_is_kept_and_taken_back(put, folder):
    path = put(FILE, mode=0o640)
    record = dict(path=str(folder / "state" / "change_tracker.json"), old_port=443, new_port=8443, phase="1")
    arguments = dict(path=[str(path)], port=8443, record=record)
    assert run(arguments, check=True)["changed"] is True and not (folder / "state").exists()
    assert run(arguments)["changed"] is True
    with open(record["path"]) as source:
        noted = json.load(source)
    assert [entry["path"] for entry in noted["files"]] == [str(path)] and noted["old_port"] == 443
    done = direct_module.run("change_record", dict(path=record["path"], state="restored"))
    assert direct_module.result(done.stdout, done.stderr)["restored"] == [str(path)]
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (FILE.encode(), 0o640)


# --- where it looks

def test_the_one_place_that_is_there_is_taken(put, folder):
    path = put(FILE, "new/HubDetails.xml")
    places = [str(folder / "old" / "HubDetails.xml"), str(path), str(path / "below-a-file")]
    result = run(dict(path=places, port=8443))
    assert (result["changed"], result["path"]) == (True, str(path))


def test_two_names_of_one_file_are_one(put, folder):
    path = put(FILE, "var/HubDetails.xml")
    (folder / "etc").symlink_to("var")
    result = run(dict(path=[str(folder / "etc" / "HubDetails.xml"), str(path)], port=8443))
    assert (result["changed"], result["path"]) == (True, str(folder / "etc" / "HubDetails.xml"))


def test_several_files_are_listed_and_stay(put, refused):
    paths = [str(put(FILE, name)) for name in ("a/HubDetails.xml", "b/HubDetails.xml")]
    refused("2 files were found where one was expected: %s, %s; nothing was written" % tuple(paths), dict(path=paths, port=8443))


def test_a_link_to_nowhere_is_no_empty_place(folder, refused):
    (folder / "HubDetails.xml").symlink_to("gone.xml")
    refused("is a symbolic link to gone.xml, which does not exist",
            dict(path=[str(folder / "HubDetails.xml"), str(folder / "other.xml")], port=8443))


def test_where_nothing_is_the_places_are_listed(folder, refused):
    paths = [str(folder / "a.xml"), str(folder / "b.xml")]
    refused("no HubDetails.xml was found; looked for %s, %s." % tuple(paths), dict(path=paths, port=8443))
    refused("path is an empty list", dict(path=[], port=8443))
    refused("%s: does not exist; check the path" % paths[0], dict(path=paths[:1], port=8443))


PLACES = ["/var/nnt/gen7agent.app.netcore/HubDetails.xml", "/var/nnt/gen7agent.service/HubDetails.xml",
          "/etc/NNT/gen7agent.app.netcore/HubDetails.xml"]
# A /var and an /etc of its own, which end with the process.
APART = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "sh", "-ec", """
    mount -t tmpfs portshift-hub /var; mount -t tmpfs portshift-hub /etc
    for place in $1; do mkdir -p "${place%/*}"; cp "$2" "$place"; done
    result=$3; shift 3
    "$@" || true
    cat /var/nnt/*/HubDetails.xml /etc/NNT/*/HubDetails.xml >"$result" 2>/dev/null || true
""", "sh"]


@pytest.mark.parametrize("places", [PLACES[:1], PLACES[1:2], PLACES[2:], [], PLACES[:2]],
                         ids=lambda places: "+".join(places) or "none")
def test_without_a_path_the_known_places_are_looked_at(put, tmp_path, places):
    source, after = put(FILE), tmp_path / "after.xml"
    result = run(dict(port=8443), prefix=[*APART, " ".join(places), str(source), str(after)])
    if len(places) == 1:
        assert (result["changed"], result["path"]) == (True, places[0])
        assert after.read_bytes() == FILE.replace(OLD_URL, NEW_URL).encode()
    else:
        assert result["failed"] is True and after.read_bytes() == FILE.encode() * len(places)
        assert all(place in result["msg"] for place in places or PLACES)


# --- what it refuses

def with_text(text):
    return FILE.replace(URL, text)


@pytest.mark.parametrize("content, sentence", [
    (b"", "the file is empty; restore it from a backup"),
    (b"password-8Lm\n", "not XML: in line 1, column 1 stands something else"),
    (FILE[:FILE.index("ciphertext") + 5], "the file is cut short: it ends in line 7, column 12 inside <E1> of line 7, column 3"),
    (with_text(URL * 2), "there are 2 <Url> directly below <HubDetails> (line 4, column 3; line 4, column 43)"),
    (with_text(""), "there is no <Url> directly below <HubDetails>; write one"),
    (with_text("<Url/>"), "the <Url> in line 4, column 3 is empty"),
    (with_text("<Url>%s<b>hunter2</b></Url>" % OLD_URL),
     "the <Url> in line 4, column 3 holds another element, in line 4, column 37"),
    (FILE.replace("<!--", "<!DOCTYPE HubDetails [<!ENTITY x SYSTEM 'file:///etc/shadow'>]>\n<!--"),
     "there is a document type (<!DOCTYPE)"),
    (FILE.replace("HubDetails", "Settings"), "not a HubDetails.xml: its root, in line 3, column 1, is another element"),
    (FILE.replace("</E1>", "</E2>"),
     "the end tag in line 7, column 23 does not fit: the element opened last is <E1> in line 7, column 3"),
    (FILE.replace("<Password>password-8Lm", "<password-8Lm>"),
     "the end tag in line 6, column 17 does not fit: the element opened last "
     "is <...> in line 6, column 3"),
    (FILE.replace("agent-7Qz", "agent-7Qz\0"), "there is a NUL byte in line 5, column 22"),
    (FILE.replace("agent-7Qz", "agent-7Qz\x01"), "not well-formed XML: what stands in line 5, column 22 can't stand there"),
    (FILE.replace("agent-7Qz", "agent&agent-7Qz;"), "there is an entity in line 5, column 18 that nothing defines"),
    (FILE.replace("agent-7Qz", "agent-7Q\xe9").encode("latin-1"),
     "in line 5, column 21, does not fit its encoding, utf-8 by what line 1"),
    (FILE.replace("utf-8", "hunter-3"), 'the file says encoding="hunter-3" in line 1, which is unknown'),
    (codecs.BOM_UTF16_LE + FILE.encode("utf-16-le"),
     'the file says encoding="utf-8" in line 1, but begins with the byte order mark'),
    (with_text("<Url>hub.example.test:443/api/?hunter2</Url>"), "the Url in line 4, column 8 is not an absolute URL"),
    (with_text("<Url>ftp://hub/hunter2</Url>"), "the Url in line 4, column 8 is one of another kind than https:// or http://"),
    (with_text("<Url>https://hub:70000/hunter2</Url>"),
     "the Url in line 4, column 8 is one that can't be used: its port is no number from 1 to 65535"),
    (with_text("<Url>https://user:hunter2@hub/api/</Url>"), "the Url in line 4, column 8 is one with an @ in it"),
    (with_text("<Url>https://hub:5<!-- hunter2 -->55/</Url>"), "the text of the <Url> in line 4, column 3 is in pieces"),
])
def test_a_doubtful_file_is_refused(put, refused, content, sentence):
    path = put(content)
    result = refused(sentence, dict(path=[str(path)], port=8443))
    assert result["msg"].startswith("%s: " % path) and "diff" not in result


@pytest.mark.parametrize("options, sentence", [
    (dict(port=0), "port is 0, which is not a port number: give a whole number from 1 to 65535"),
    (dict(port=65536), "port is 65536, which is not a port number"),
    (dict(port=-1), "which is not a port number"),
    (dict(port="8443x"), "argument 'port' is of type"),
    (dict(), "one of the following is required: port, url"),
    (dict(port=8443, url=NEW_URL), "parameters are mutually exclusive: port|url"),
    (dict(url=""), "url is empty; write it as https://HOST:PORT/api/"),
    (dict(url="hub:8443/api/"), "url is not an absolute URL"),
    (dict(url="ldap://hub/"), "url is one of another kind than https:// or http://"),
    (dict(url="https://user:hunter2@hub/api/"), "url is one with an @ in it"),
    (dict(url="https://hub:99999/api/"), "url is one that can't be used: its port is no number from 1 to 65535"),
    (dict(url="https://hub/a\nb"), "url is one with a blank, or something else that no URL has, as its character 14"),
])
def test_a_doubtful_wish_is_refused(put, refused, options, sentence):
    refused(sentence, dict(options, path=[str(put(FILE))]))


def test_an_entity_bomb_costs_nothing(put, refused):
    bomb = "".join('<!ENTITY x%d "%s">' % (level, "&x%d;" % (level - 1) * 10) for level in range(1, 12))
    path = put(FILE.replace("<!--", "<!DOCTYPE x [<!ENTITY x0 'lol'>%s]><!--" % bomb).replace("hub.", "&x11;"))
    costs_little(put(FILE, "usual.xml"), path)


def costs_little(usual, hostile):
    """Beside a usual file, which takes a thousandth of a second and the memory that Ansible needs."""
    def read():
        with pytest.raises(FileError):
            HubEdit([str(hostile)], port=8443)

    meter = [sys.executable, "-c", METER]
    megabytes = [int(run(dict(path=[str(path)], port=8443), check=True, prefix=meter)["stderr"].split()[-1])
                 for path in (usual, hostile)]
    assert growth.seconds(read) < growth.LEAST and megabytes[1] < min(megabytes[0] + 10, 100), megabytes


def test_a_file_of_20_mb_is_refused_by_its_size(put, folder, refused):
    path = put(FILE, "big.xml")
    os.truncate(path, 20 * 1024 * 1024)
    refused("the file has 20971520 bytes, where one of about 1000 was expected and 262144 are the limit",
            dict(path=[str(path)], port=8443))
    costs_little(put(FILE), path)


@pytest.mark.parametrize("make, sentence", [
    (lambda path: path.mkdir(), "is a directory, not a file"),
    (os.mkfifo, "is a special file, not a file"),
])
def test_what_is_no_file_is_refused(folder, refused, make, sentence):
    path = folder / "HubDetails.xml"
    make(path)
    refused("%s: %s" % (path, sentence), dict(path=[str(path)], port=8443))


def test_a_file_that_may_not_be_read_is_refused(put, refused, folder):
    # Root may, unless that is taken from it.
    prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"] if os.geteuid() == 0 else []
    path = put(FILE)
    os.chmod(path, 0)
    result = direct_module.run("change_tracker_hub_url", dict(path=[str(path)], port=8443), prefix)
    said = direct_module.result(result.stdout, result.stderr)
    assert said["failed"] is True and "%s: could not read it: permission denied; run with become: true" % path in said["msg"]
    os.chmod(path, 0o600)
    os.chmod(folder, 0)
    try:
        for places in ([str(path)], [str(path), str(folder / "other.xml")]):
            result = direct_module.run("change_tracker_hub_url", dict(path=places, port=8443), prefix)
            said = direct_module.result(result.stdout, result.stderr)
            assert said["failed"] is True and "permission denied" in said["msg"]
    finally:
        os.chmod(folder, 0o700)
    assert path.read_bytes() == FILE.encode()


# --- as Ansible runs it

@pytest.mark.parametrize("options", [(), ("--check",)], ids=["for real", "check mode"])
def test_ansible_shows_no_secret_at_any_verbosity(put, run_playbook, options):
    good, bad = put(FILE), put(FILE.replace("</E1>", "</E2>"), "bad.xml")
    name = "portshift.agents.change_tracker_hub_url"
    tasks = [{"name": "Move", name: dict(path=str(good), port=8443, backup=True), "register": "moved"},
             {"name": "Read a broken file", name: dict(path=str(bad), port=8443), "ignore_errors": True},
             {"name": "Ask for a URL with a password", name: dict(path=str(good), url="https://user:hunter2@hub/"),
              "ignore_errors": True},
             {"name": "Show", "ansible.builtin.debug": dict(var="moved")}]
    host = dict(ansible_connection="local", ansible_python_interpreter=managed_python())
    done = run_playbook([dict(name="Move", hosts="all", gather_facts=False, tasks=tasks)], dict(all=dict(hosts=dict(host=host))),
                        "-vvv", "--diff", *options)
    assert done.returncode == 0, done.stdout
    assert "+  <Url>%s</Url>" % NEW_URL in done.stdout and done.stdout.count("fatal: [host]") == 2
    assert not [secret for secret in SECRETS if secret in done.stdout]
    assert good.read_bytes() == (FILE if options else FILE.replace(OLD_URL, NEW_URL)).encode()
