# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ports are reserved, now and after a boot, and the calls that change it."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._host_port import port_reservation as reservation
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import OpeningError

KEY = reservation.RESERVED


class Module:
    """What a Reservation sees of an AnsibleModule."""

    def __init__(self, check=False):
        self.check_mode = check


@pytest.fixture
def host(tmp_path):
    """host(live, files, span) -> a Reservation of a host with these settings."""
    def make(live="", files=(), span="32768\t60999", check=False, systemd=True):
        values = tmp_path / "proc" / "sys" / "net" / "ipv4"
        values.mkdir(parents=True, exist_ok=True)
        (values / "ip_local_port_range").write_text(span + "\n")
        (values / "ip_local_reserved_ports").write_text(live + "\n")
        if systemd:
            (tmp_path / "run" / "systemd" / "system").mkdir(parents=True, exist_ok=True)
        for name, text in dict(files).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("-> "):
                os.symlink(text[3:], str(path))
            else:
                path.write_text(text)
        return reservation.read(Module(check), str(tmp_path / "proc"), str(tmp_path))
    return make


def arguments(found):
    """(value or state, file's name) of each call; none of them sets the live list."""
    assert all(call["module"] == "ansible.posix.sysctl" and call["args"]["name"] == KEY and call["args"]["reload"] is False
               and call["args"]["sysctl_set"] is False for call in found)
    return [(call["args"].get("value", call["args"]["state"]), os.path.basename(call["args"]["sysctl_file"])) for call in found]


@pytest.mark.parametrize(("text", "found"), [
    ("a.b = 1\na.b=2 \n", {"a.b": "2"}), ("# a.b=1\n; a.b=1\n\n", {}), ("-a.b = 1", {"a.b": "1"}),
    ("a/b.c/d=1", {"a.b/c.d": "1"}),
    ("a.b/c=1", {"a.b/c": "1"}), ("  a.b   =   1,2-3  ", {"a.b": "1,2-3"}), ("a.b\n=1\n", {}), ("a.b=", {"a.b": ""}),
    ("a.b=1 2\r\n", {"a.b": "1 2"}),
])
def test_settings_of_a_file(text, found):
    assert reservation.settings(text.encode()) == found


def test_files_count_by_their_name_and_hide_those_of_later_folders(host):
    found = host(files={"etc/sysctl.d/10-a.conf": KEY + "=1", "usr/lib/sysctl.d/10-a.conf": KEY + "=2",
                        "run/sysctl.d/20-b.conf": KEY + "=3", "etc/sysctl.d/99-last.conf.bak": KEY + "=4",
                        "usr/lib/sysctl.d/30-c.conf": KEY + "=5", "etc/sysctl.d/30-c.conf": "-> /dev/null"})
    assert (found.boot, os.path.basename(found.boot_path)) == (((3, 3),), "20-b.conf")


def test_the_old_file_counts_by_its_link_with_systemd_and_last_without(host, tmp_path):
    files = {"etc/sysctl.conf": KEY + "=7000"}
    assert host(files=files).boot == ()
    linked = host(files={"etc/sysctl.d/99-sysctl.conf": "-> ../sysctl.conf", "etc/sysctl.d/zz.conf": "vm.swappiness=1"})
    assert linked.boot == ((7000, 7000),)
    assert arguments(linked.calls([55000])) == [("7000,55000", OWN)] and live_list(tmp_path) == "55000"


def test_the_old_file_counts_last_without_systemd(host):
    found = host(files={"etc/sysctl.conf": KEY + "=7000", "etc/sysctl.d/99-z.conf": KEY + "=8000"}, systemd=False)
    assert found.boot == ((7000, 7000),)


@pytest.mark.parametrize(("live", "boot", "span", "needed"), [
    ("", "", "32768\t60999", True), ("55000", "55000", "32768\t60999", False),
    ("54000-56000", "50000-55000", "32768\t60999", False),
    ("55000", "", "32768\t60999", True), ("", "55000", "32768\t60999", True), ("", "", "32768\t50000", False),
])
def test_a_port_has_to_be_reserved_now_and_after_a_boot(host, live, boot, span, needed):
    found = host(live, {"etc/sysctl.d/1.conf": "%s=%s" % (KEY, boot)} if boot else {}, span)
    assert found.needed(55000) == needed


def test_a_range_that_a_boot_widens_counts_too(host):
    found = host(span="32768 50000", files={"etc/sysctl.d/1.conf": "net.ipv4.ip_local_port_range=1024 65535"})
    assert found.needed(55000)


OWN = "99-zz-portshift.conf"


@pytest.mark.parametrize(("live", "files", "after", "calls"), [
    ("", {}, "55000", [("55000", OWN)]),
    ("8080", {"etc/sysctl.d/70-site.conf": "x=1\n%s=8080" % KEY}, "8080,55000", [("8080,55000", OWN)]),
    ("8080", {}, "8080,55000", [("55000", OWN)]),
    ("54999", {"etc/sysctl.d/70-site.conf": "%s=54999,55001" % KEY}, "54999-55000", [("54999-55001", OWN)]),
    ("55000", {}, "55000", [("55000", OWN)]),
    ("", {"usr/lib/sysctl.d/90-vendor.conf": "%s=1" % KEY}, "55000", [("1,55000", OWN)]),
    ("", {"run/sysctl.d/zy.conf": "%s=1" % KEY}, "55000", [("1,55000", "zy.conf-" + OWN)]),
    ("", {"etc/sysctl.d/zy.conf": "%s=1" % KEY, "etc/sysctl.d/" + OWN: "%s=2,3" % KEY}, "55000",
     [("1,55000", "zy.conf-" + OWN)]),
])
def test_the_live_list_is_added_to_at_once_and_calls_end_with_what_a_boot_is_to_find(host, tmp_path, live, files, after, calls):
    assert arguments(host(live, files, check=True).calls([55000])) == calls and live_list(tmp_path) == live
    assert arguments(host(live, files).calls([55000])) == calls and live_list(tmp_path) == after


def test_what_another_one_reserves_meanwhile_is_not_overwritten(host, tmp_path):
    found = host("8080")
    path = tmp_path / "proc/sys/net/ipv4/ip_local_reserved_ports"
    path.write_text("8080,6530-6533\n")
    assert arguments(found.calls([55000])) == [("55000", OWN)] and live_list(tmp_path) == "6530-6533,8080,55000"
    found = host("8080,55000", {"etc/sysctl.d/" + OWN: KEY + "=55000"})
    path.write_text("9000,55000\n")
    assert found.calls([55000], remove=True) == [] and live_list(tmp_path) == "9000"


def test_a_list_that_another_one_writes_in_the_same_moment_is_written_anew(host, tmp_path, monkeypatch):
    found, put, path = host(""), reservation.Reservation._set_live, tmp_path / "proc/sys/net/ipv4/ip_local_reserved_ports"
    overtakers = ["6530-6533", "6530-6533,9000"]

    def overtaken(self, ranges):
        put(self, ranges)
        if overtakers:
            path.write_text(overtakers.pop(0) + "\n")

    monkeypatch.setattr(reservation.Reservation, "_set_live", overtaken)
    found.calls([55000])
    assert live_list(tmp_path) == "6530-6533,9000,55000"
    monkeypatch.setattr(reservation.Reservation, "_set_live", lambda self, ranges: None)
    with pytest.raises(OpeningError, match="look what else sets it on this host"):
        host("").calls([55000])


@pytest.mark.parametrize("name", ["etc/sysctl.d/70-site.conf", "etc/sysctl.d/99-sysctl.conf", "etc/sysctl.d/99-zz.conf",
                                  "etc/sysctl.d/zz.conf", "usr/lib/sysctl.d/zzz-vendor.conf",
                                  "run/sysctl.d/99-zz-portshift.d.conf"])
def test_the_name_of_our_file_wins_over_the_sites(host, tmp_path, name):
    found = host("", {name: KEY + "=7000"})
    path = found.calls([55000])[-1]["args"]["sysctl_file"]
    assert path.startswith(str(tmp_path / "etc/sysctl.d/"))
    again = host("7000,55000", {path[len(str(tmp_path)) + 1:]: KEY + "=7000,55000"})
    assert again.boot_path == path and again.own_path() == path and not again.needed(55000)
    assert again.boot == ((7000, 7000), (55000, 55000)) and again.others == ((7000, 7000),)


def test_a_file_of_the_sites_that_sets_a_key_twice_keeps_every_byte(host, tmp_path):
    site = "net.ipv4.ip_forward   =  0\n%s=7000\nnet.ipv4.ip_forward = 1\n" % KEY
    found = host("7000", {"etc/sysctl.d/70-site.conf": site})
    assert arguments(found.calls([55000])) == [("7000,55000", OWN)] and live_list(tmp_path) == "7000,55000"
    found = host("7000,55000", {"etc/sysctl.d/" + OWN: KEY + "=7000,55000\n"})
    assert found.calls([55000], remove=True) == []
    assert (tmp_path / "etc/sysctl.d/70-site.conf").read_text() == site
    assert not (tmp_path / "etc/sysctl.d" / OWN).exists() and live_list(tmp_path) == "7000"


def live_list(tmp_path):
    return (tmp_path / "proc/sys/net/ipv4/ip_local_reserved_ports").read_text().strip()


@pytest.mark.parametrize("site", ["etc/sysctl.d/70-site.conf", "usr/lib/sysctl.d/90-vendor.conf"])
def test_letting_go_takes_our_file_away_and_keeps_what_others_reserved(host, tmp_path, site):
    files = {site: KEY + "=8080,54000-54999", "etc/sysctl.d/" + OWN: KEY + "=8080,54000-55000"}
    found = host("8080,54000-55000", files, check=True)
    assert found.held(55000) and not found.held(1)
    assert found.calls([55000], remove=True) == [] and live_list(tmp_path) == "8080,54000-55000"
    found = host("8080,54000-55000", files)
    assert found.calls([55000], remove=True) == [] and live_list(tmp_path) == "8080,54000-54999"
    assert not (tmp_path / "etc/sysctl.d" / OWN).exists()
    assert not host(live_list(tmp_path)).held(55000)


def test_letting_go_of_one_of_several_keeps_the_others_in_our_file(host, tmp_path):
    files = {"etc/sysctl.d/70-site.conf": KEY + "=8080", "etc/sysctl.d/" + OWN: KEY + "=8080,55000,55002"}
    assert arguments(host("8080,55000,55002", files).calls([55000], remove=True)) == [("8080,55002", OWN)]
    assert live_list(tmp_path) == "8080,55002"


def test_a_port_that_the_site_reserves_for_a_boot_is_set_live_alone_and_stays_the_sites(host, tmp_path):
    files = {"etc/sysctl.d/70-site.conf": KEY + "=55000"}
    found = host("1", files)
    assert found.calls([55000]) == [] and live_list(tmp_path) == "1,55000" and found.own == []
    found = host("1,55000", files)
    assert found.held(55000) and found.calls([55000], remove=True) == [] and live_list(tmp_path) == "1"
    assert not host("1", files).held(55000)
    assert (tmp_path / "etc/sysctl.d/70-site.conf").read_text() == KEY + "=55000"


def test_what_the_site_reserves_later_is_named_and_not_lost_when_ours_goes(host, tmp_path):
    files = {"etc/sysctl.d/70-site.conf": KEY + "=8000-8001", "etc/sysctl.d/" + OWN: KEY + "=8000,55000"}
    found = host("8000,55000", files)
    assert found.hidden() == ["%s reserves 8000-8001, but %s comes later and decides at boot; add the ports there too" % (
        tmp_path / "etc/sysctl.d/70-site.conf", tmp_path / "etc/sysctl.d" / OWN)]
    assert found.calls([55000], remove=True) == [] and not (tmp_path / "etc/sysctl.d" / OWN).exists()
    assert host("", {"etc/sysctl.d/70-site.conf": KEY + "=8000"}).hidden() == []


def test_letting_go_of_the_last_one_empties_the_kernel_and_takes_our_file_away(host, tmp_path):
    files = {"etc/sysctl.d/" + OWN: "%s=55000\n" % KEY}
    found = host("55000", files, check=True)
    assert found.calls([55000], remove=True) == [] and live_list(tmp_path) == "55000"
    assert (tmp_path / "etc/sysctl.d" / OWN).exists()
    found = host("55000", files)
    assert found.calls([55000], remove=True) == [] and live_list(tmp_path) == ""
    assert not (tmp_path / "etc/sysctl.d" / OWN).exists()


def test_letting_go_leaves_the_sites_other_settings_in_our_file(host, tmp_path):
    found = host("55000", {"etc/sysctl.d/" + OWN: "vm.swappiness =  1\r\n%s=55000\n# end" % KEY})
    assert found.calls([55000], remove=True) == []
    assert (tmp_path / "etc/sysctl.d" / OWN).read_bytes() == b"vm.swappiness =  1\r\n# end"


def test_where_the_old_file_is_read_last_and_sets_the_list_a_person_has_to_add_to_it(host):
    found = host(files={"etc/sysctl.conf": KEY + "=7000"}, systemd=False)
    [problem] = found.problems([55000])
    assert "sysctl.conf sets %s and is read last" % KEY in problem and "add 55000 to its list" in problem
    found = host(files={"etc/sysctl.conf": KEY + "=7000,55000"}, systemd=False)
    assert found.problems([55000]) == []


def test_a_kernel_that_refuses_the_list_is_an_error(host, tmp_path, monkeypatch):
    found = host("55000")
    monkeypatch.setattr(found, "_live_text", lambda: "55000")
    monkeypatch.setattr(found, "path", str(tmp_path))
    with pytest.raises(OpeningError, match="could not be set to '': Is a directory"):
        found.calls([55000], remove=True)


def test_where_the_kernel_can_not_be_written_nothing_is_promised(host, tmp_path, monkeypatch):
    monkeypatch.setattr(reservation.os, "access", lambda path, mode: False)     # root may write everything but a read-only mount
    found = host()
    assert not found.needed(55000) and "no port was reserved" in found.notes[0] and "podman run --sysctl" in found.notes[0]


def test_a_host_without_the_setting_says_so(tmp_path):
    found = reservation.read(Module(), str(tmp_path), str(tmp_path))
    assert not found.needed(55000) and "is not there" in found.notes[0]


RANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=6)


def members(ranges):
    return {port for first, last in ranges for port in range(first, last + 1)}


@given(RANGES, st.lists(st.integers(1, 66), max_size=4))
def test_ports_come_and_go_exactly(ranges, ports):
    ranges = reservation.joined(ranges)
    more = reservation.with_ports(ranges, ports)
    assert members(more) == members(ranges) | set(ports)
    assert members(reservation.without_ports(more, ports)) == members(ranges) - set(ports)
    assert reservation.parse_list(reservation.written(more)) == more
