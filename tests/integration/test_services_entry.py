# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""services_entry on a host's own /etc/services: what the module writes, and what lookups answer then.

The host is this machine with an /etc of its own, in mounts that end with each command.
"""

import os
import shutil
import subprocess

import pytest

from ansible_collections.portshift.agents.tests.integration import direct_module
from ansible_collections.portshift.agents.tests.unit import services_lookups

# An excerpt of the list that RHEL and its relatives ship.
REDHAT = b"""\
lm-x            6200/tcp                # LM-X License Manager by X-Formation
boks            6500/tcp                # BoKS Master
boks            6500/udp                # BoKS Master
boks_servc      6501/tcp boks-servc     # BoKS Servc
boks_servc      6501/udp boks-servc     # BoKS Servc
boks_servm      6502/tcp boks-servm     # BoKS Servm
boks_clntd      6503/tcp boks-clntd     # BoKS Clntd
badm_priv       6505/tcp badm-priv      # BoKS Admin Private Port
"""
MOVED = REDHAT.replace(b"boks            6500/", b"boks            6530/")
PLAIN = b"# Network services, Internet style\n\ntcpmux\t\t1/tcp\t\t\t\t# TCP port service multiplexer\nssh\t\t22/tcp\n"

ENTER = """
[ ! -d "$1/usr" ] || mount -t overlay -o "lowerdir=/usr,upperdir=$1/usr,workdir=$1/work" overlay /usr
mount --bind "$1/etc" /etc
[ ! -d /var/lib/misc ] || mount --bind "$1/databases" /var/lib/misc
[ ! -d /var/db ] || mount --bind "$1/databases" /var/db
[ ! -e "$1/outside" ] || mount --bind "$1/outside" /etc/services
"""


# The source usrfiles of SUSE's C library, as far as lookups of services by name go.
USRFILES = """
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <nss.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum nss_status _nss_usrfiles_getservbyname_r(const char *name, const char *protocol, struct servent *found, char *buffer,
                                              size_t size, int *error)
{
    static char *none[] = { NULL };
    char line[1024], entry[256], number[32], its_protocol[32];
    FILE *list = fopen("/usr/etc/services", "re");
    *error = ENOENT;
    if (!list)
        return NSS_STATUS_UNAVAIL;
    while (fgets(line, sizeof line, list)) {
        if (sscanf(line, "%255s %31[0-9]/%31s", entry, number, its_protocol) == 3 && !strcmp(entry, name) &&
            (!protocol || !strcmp(protocol, its_protocol))) {
            found->s_name = strcpy(buffer, entry);
            found->s_proto = strcpy(buffer + strlen(entry) + 1, its_protocol);
            found->s_aliases = none;
            found->s_port = htons(atoi(number));
            fclose(list);
            return NSS_STATUS_SUCCESS;
        }
    }
    fclose(list);
    return NSS_STATUS_NOTFOUND;
}
"""


class Host:
    def __init__(self, folder, content, mounted):
        self.folder, self.mounted = folder, mounted
        self.prefix = services_lookups.in_own_mounts(ENTER, folder)
        for name in ("etc", "databases"):
            (folder / name).mkdir()
        for name in ("passwd", "group", "ld.so.cache"):
            if os.path.exists("/etc/" + name):
                shutil.copy("/etc/" + name, folder / "etc" / name)
        self.sources("files")
        (folder / "etc" / "services").write_bytes(b"" if mounted else content)
        if mounted:
            (folder / "outside").write_bytes(content)
        self.services = folder / ("outside" if mounted else "etc/services")

    def sources(self, line):
        (self.folder / "etc" / "nsswitch.conf").write_text("passwd: files\nservices: %s\n" % line)

    def database(self, *entries):
        """What the source db answers from."""
        keys = "".join("%s%s/%s %s %d/%s\n" % (mark, name, protocol, name, port, protocol)
                       for name, port, protocol in entries for mark in (".", ":"))
        if not shutil.which("makedb"):
            pytest.skip("makedb is not installed here (Debian: libnss-db, Fedora: nss_db)")
        (self.folder / "entries").write_text(keys)
        subprocess.run(["makedb", "-o", str(self.folder / "databases" / "services.db"), str(self.folder / "entries")], check=True)
        asked = self.getent("-s", "services:db", "services", "%s/%s" % (entries[0][0], entries[0][2]))
        if not asked:
            pytest.skip("this C library does not answer from a database that makedb makes (Debian: libnss-db, Fedora: nss_db)")

    def getent(self, *arguments):
        return subprocess.run([*self.prefix, "getent", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False,
                              timeout=60).stdout.split()

    def lookup(self, key):
        """What `getent services` answers: name and port/protocol."""
        return b" ".join(self.getent("services", key)[:2]).decode()

    def call(self, module, check=False, diff=True, **arguments):
        arguments.update(_ansible_check_mode=check, _ansible_diff=diff, _ansible_remote_tmp=str(self.folder))
        done = direct_module.run(module, arguments, self.prefix)
        return direct_module.result(done.stdout, done.stderr)

    def entry(self, check=False, **arguments):
        wanted = dict(dict(name="boks", port=6530, protocols_if_present=["udp"]), **arguments)
        result = self.call("services_entry", check, **wanted)
        # Nothing is left beside the file, whatever came of it.
        assert [name for name in os.listdir(self.folder / "etc") if "portshift" in name] == []
        return result

    def refused(self, **arguments):
        """The sentence, which is the same in check mode and for real; the file is as it was."""
        before = self.services.read_bytes()
        told = []
        for check in (True, False):
            result = self.entry(check, **arguments)
            assert result.get("failed") and self.services.read_bytes() == before
            told.append(result["msg"])
        assert told[0] == told[1]
        return told[0]


@pytest.fixture(params=["plain", "mounted"])
def host(request, tmp_path):
    return lambda content: Host(tmp_path, content, request.param == "mounted")


@pytest.fixture
def suse_host(tmp_path):
    """As SLES 16 and openSUSE Tumbleweed are: the list lies below /usr, and /etc has none.

    Other distributions' C library knows no source usrfiles and passes over it, so it is made here.  Where there is no C
    compiler, nothing answers until there is an entry in /etc/services.
    """
    for name in ("usr", "usr/etc", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "usr" / "etc" / "services").write_bytes(REDHAT)
    host = Host(tmp_path, b"", False)
    host.services.unlink()
    host.sources("files usrfiles")
    if subprocess.run([*host.prefix, "cat", "/usr/etc/services"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                      check=False).stdout != REDHAT:
        pytest.skip("no file can be laid over /usr here: that takes an overlay file system in a mount namespace")
    if shutil.which("cc"):
        (tmp_path / "usrfiles.c").write_text(USRFILES)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(tmp_path / "libnss_usrfiles.so.2"), str(tmp_path / "usrfiles.c")],
                       check=True)
        host.prefix += ["env", "LD_LIBRARY_PATH=%s" % tmp_path]
        assert host.lookup("boks/tcp") == "boks 6500/tcp"
    host.answers_below_usr = bool(shutil.which("cc"))
    return host


@pytest.fixture
def plain_host(tmp_path):
    return lambda content: Host(tmp_path, content, False)


def machines_list():
    with open("/etc/services", "rb") as source:
        return source.read()


def test_entries_of_the_shipped_list_move_and_come_back(host):
    content = machines_list() + b"odd line / of a site \xff\r\n" + REDHAT
    host = host(content)
    assert (host.lookup("boks/tcp"), host.lookup("boks/udp")) == ("boks 6500/tcp", "boks 6500/udp")
    result = host.entry()
    assert (result["changed"], result["previous"], result["resolved"], result["shadowed"]) == (
        True, {"tcp": 6500, "udp": 6500}, {"tcp": 6530, "udp": 6530}, [])
    assert [(entry["port"], entry["protocol"], entry["effective"]) for entry in result["entries"]] == [
        (6530, "tcp", True), (6530, "udp", True)]
    assert host.services.read_bytes() == content[:-len(REDHAT)] + MOVED
    assert (host.lookup("boks/tcp"), host.lookup("boks/udp")) == ("boks 6530/tcp", "boks 6530/udp")
    assert host.lookup("boks_servc/tcp") == "boks_servc 6501/tcp"
    assert host.entry()["changed"] is False
    assert host.entry(port=6500)["changed"] is True
    assert host.services.read_bytes() == content


@pytest.mark.parametrize("content", [PLAIN, PLAIN[:-1], PLAIN.replace(b"\n", b"\r\n")], ids=["as shipped", "no newline", "CRLF"])
def test_entry_is_added_where_there_is_none_and_absent_gives_the_old_bytes(host, content):
    host = host(content)
    result = host.entry(comment="BoKS base port")
    assert (result["changed"], result["previous"], result["resolved"]) == (True, {"tcp": None}, {"tcp": 6530})
    there = host.services.read_bytes()
    assert there.startswith(content) and there[len(content):].strip() == (
        b"boks            6530/tcp                        # BoKS base port")
    assert host.lookup("boks/tcp") == "boks 6530/tcp" and host.lookup("boks/udp") == ""
    result = host.entry(state="absent")
    assert (result["changed"], result["previous"], result["entries"]) == (True, {"tcp": 6530}, [])
    assert result["resolved"] == {"tcp": None}
    assert host.services.read_bytes() == content
    assert host.entry(state="absent", port=None)["changed"] is False


@pytest.mark.parametrize("arguments", [dict(), dict(state="absent", port=None)], ids=["present", "absent"])
def test_check_mode_says_what_the_real_run_does(host, arguments):
    host = host(REDHAT)
    before = os.stat(host.services)
    predicted = host.entry(check=True, **arguments)
    after = os.stat(host.services)
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns) and host.services.read_bytes() == REDHAT
    assert predicted["resolved"] == {"tcp": 6500, "udp": 6500}
    done = host.entry(**arguments)
    assert done["diff"]["after"].encode() == host.services.read_bytes() != REDHAT
    for key in ("changed", "diff", "entries", "previous", "shadowed"):
        assert predicted[key] == done[key]


def test_file_that_is_mounted_stays_the_same_file(tmp_path):
    host = Host(tmp_path, REDHAT, mounted=True)
    os.chmod(host.services, 0o644)
    before = os.stat(host.services)
    assert host.entry()["changed"] is True
    after = os.stat(host.services)
    assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)
    assert (tmp_path / "etc" / "services").read_bytes() == b""


def test_backup_holds_the_old_bytes(plain_host):
    host = plain_host(REDHAT)
    backup = host.entry(backup=True)["backup_file"]
    assert (host.folder / backup.lstrip("/")).read_bytes() == REDHAT


def test_record_takes_it_back(host):
    host, record = host(REDHAT), dict(old_port=6500, new_port=6530)
    record["path"] = str(host.folder / "boks.json")
    assert host.entry(record=record)["changed"] is True
    assert host.services.read_bytes() == MOVED
    assert host.call("change_record", path=record["path"], state="restored")["changed"] is True
    assert host.services.read_bytes() == REDHAT


def test_earlier_alias_is_a_failure_that_names_the_line(plain_host):
    host = plain_host(b"boksm 6600/tcp boks\n" + REDHAT)
    assert host.refused() == (
        "/etc/services: line 1, boksm 6600/tcp, has boks as an alias, so lookups of boks/tcp end there and not at a line of its "
        "own; remove the alias from that line if that is right, then run again; nothing was written")


def test_database_that_answers_before_the_file_is_named(plain_host):
    host = plain_host(REDHAT)
    host.database(("boks", 6500, "tcp"))
    host.sources("db files")
    assert host.refused() == (
        "/etc/services: an entry boks 6530/tcp there does not count: db, not the file, answers 6500 for boks/tcp on this host "
        "(the services line of /etc/nsswitch.conf is: db files). Change the port where that answer comes from, or have files "
        "come first there; nothing was written")


def test_database_that_answers_is_named_also_where_the_file_is_right_already(plain_host):
    host = plain_host(MOVED)
    host.database(("boks", 6500, "tcp"))
    host.sources("db files")
    assert "db, not the file, answers 6500 for boks/tcp" in host.refused()


def test_database_that_comes_after_the_file_or_agrees_does_not_count(plain_host):
    host = plain_host(PLAIN)
    host.database(("boks", 6500, "tcp"))
    host.sources("files db")
    assert host.lookup("boks/tcp") == "boks 6500/tcp"
    assert host.entry()["resolved"] == {"tcp": 6530}
    # Who takes the line away again is where he was: the database answers.
    assert host.entry(state="absent")["resolved"] == {"tcp": 6500} and host.services.read_bytes() == PLAIN
    host.database(("boks", 6530, "tcp"))
    host.sources("db files")
    assert host.entry()["resolved"] == {"tcp": 6530}


def test_file_is_put_back_when_lookups_do_not_go_by_it(host):
    host = host(REDHAT)
    # No such server here, and the lookup ends there: nothing tells that before the file was written.
    host.sources("hesiod [!SUCCESS=return] files")
    record = dict(path=str(host.folder / "boks.json"), old_port=6500, new_port=6530)
    result = host.entry(record=record)
    assert result["failed"] and result["msg"] == (
        "/etc/services: an entry boks 6530/tcp there does not count: no source answers for boks/tcp on this host (the services "
        "line of /etc/nsswitch.conf is: hesiod files). Change the port where that answer comes from, or have files come first "
        "there; the file was put back as it was")
    assert host.services.read_bytes() == REDHAT
    assert host.call("change_record", path=record["path"], state="restored")["restored"] == []


def test_host_that_does_not_ask_the_file_is_refused(plain_host):
    host = plain_host(REDHAT)
    host.sources("hesiod")
    assert "no source answers for boks/tcp on this host (the services line of /etc/nsswitch.conf is: hesiod)" in host.refused()


def test_host_that_keeps_its_list_below_usr_gets_a_file_with_what_moves(suse_host):
    host, record = suse_host, dict(old_port=6500, new_port=6530)
    record["path"] = str(host.folder / "boks.json")
    predicted = host.entry(check=True, record=record)
    assert predicted["changed"] and not host.services.exists() and predicted["previous"] == {"tcp": 6500, "udp": 6500}
    done = host.entry(record=record)
    assert predicted["resolved"] == dict.fromkeys(("tcp", "udp"), 6500 if host.answers_below_usr else None)
    for key in ("changed", "diff", "entries", "previous", "shadowed"):
        assert predicted[key] == done[key]
    assert host.services.read_bytes() == b"boks            6530/tcp\nboks            6530/udp\n"
    assert os.stat(host.services).st_mode & 0o7777 == 0o644
    assert done["resolved"] == {"tcp": 6530, "udp": 6530} and host.lookup("boks/udp") == "boks 6530/udp"
    assert host.entry(record=record)["changed"] is False
    for check in (True, False):
        back = host.call("change_record", check, path=record["path"], state="restored")
        assert (back["changed"], back["restored"], host.services.exists()) == (True, ["/etc/services"], check)
    assert host.lookup("boks/tcp") == ("boks 6500/tcp" if host.answers_below_usr else "")
    # Without a record, by the module that made it.
    assert host.entry()["changed"] and host.entry(state="absent", port=None)["changed"] and not host.services.exists()


def test_change_of_that_host_that_is_not_confirmed_takes_the_file_away(suse_host):
    if os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd runs here, and the change would be a unit of this machine's own")
    host = suse_host
    asked = dict(name="boks", record=str(host.folder / "boks.json"), state_dir=str(host.folder), new_port=6530, stop=[["true"]],
                 start=[["true"]])
    begun = host.call("confirmed_change", state="begun", old_port=6500, timeout=600, services_entries=[
        dict(path="/etc/services", name="boks", port=6530, protocols_if_present=["udp"])], **asked)
    assert (begun["state"], begun["files"]) == ("waiting", ["/etc/services"]), begun
    assert host.lookup("boks/udp") == "boks 6530/udp"
    host.services.write_bytes(b"# ours\n" + host.services.read_bytes())
    undone = host.call("confirmed_change", state="reverted", **asked)
    assert (undone["state"], undone["restored"], host.services.read_bytes()) == ("reverted", ["/etc/services"], b"# ours\n")


def test_boks_host_that_keeps_its_list_below_usr_is_assessed(suse_host):
    host = suse_host
    (host.folder / "ENV").write_text("BOKSINIT=client\n")
    asked = dict(env_path=str(host.folder / "ENV"), record=str(host.folder / "boks.json"))
    found = host.call("boks_info", base_port=6530, **asked)
    assert (found["services_port"], found["services_entry"]) == (6500, {"tcp": 6500, "udp": 6500})
    assert [(edit["path"], edit["previous"], edit["protocols_if_present"]) for edit in found["edits"]] == [
        ("/etc/services", {"tcp": 6500, "udp": 6500}, ["udp"])]
    assert "/etc/services does not exist, and is made with what moves; the rest stays in /usr/etc/services" in found["notes"]
    assert not [problem for problem in found["problems"] if "does not exist" in problem]
    # Where no C library answers from there, that is what is told.
    assert [problem.split(":")[0] for problem in found["problems"]] == ([] if host.answers_below_usr else ["/etc/services"])
    taken = [sentence for sentence in host.call("boks_info", base_port=6199, **asked)["problems"] if "lm-x" in sentence]
    assert taken and taken[0].startswith("/usr/etc/services: line 1 gives port 6200/tcp to lm-x")
    host.entry()
    found = host.call("boks_info", base_port=6530, **asked)
    assert (found["problems"], found["edits"], found["base"]) == ([], [], 6530)
    host.services.write_bytes(b"# ours\n" + host.services.read_bytes())
    assert host.call("boks_info", base_port=6540, **asked)["edits"][0]["previous"] == {"tcp": 6530, "udp": 6530}


def test_another_file_is_edited_without_asking_the_host(run_playbook, tmp_path):
    path = tmp_path / "services"
    path.write_bytes(REDHAT)
    task = {"portshift.agents.services_entry": dict(path=str(path), name="boks", port=6530, protocols_if_present=["udp"])}
    done = run_playbook([dict(hosts="all", gather_facts=False, tasks=[task])],
                        dict(all=dict(hosts=dict(localhost=dict(ansible_connection="local")))), "--diff")
    assert done.returncode == 0 and path.read_bytes() == MOVED, done.stdout
    assert "-boks            6500/tcp                # BoKS Master" in done.stdout
    assert "+boks            6530/tcp                # BoKS Master" in done.stdout


def test_port_is_asked_for(plain_host):
    host = plain_host(REDHAT)
    assert "state is present but all of the following are missing: port" in host.call("services_entry", name="boks")["msg"]
    assert "port is None, which is not a port number" in host.refused(port=None)
