# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types of ports as semanage prints them, and the calls that change them."""

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._host_port import selinux_ports as selinux
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import Opening, OpeningError

# Lines of semanage port --list --noheading with Debian's selinux-policy-default 2.20221101, after a site has added two ports.
LISTED = """\
afs3_callback_port_t           tcp      7001
afs3_callback_port_t           udp      7001
hi_reserved_port_t             tcp      512-1023
http_cache_port_t              udp      3130
http_port_t                    tcp      9500-9600, 80, 443, 488, 8008, 8009, 8443, 8448
reserved_port_t                tcp      1-511
ssh_port_t                     tcp      8443, 22
unreserved_port_t              sctp     1024-65535
unreserved_port_t              tcp      1024-65535
unreserved_port_t              udp      1024-65535
"""
LOCAL = """\
http_port_t                    tcp      9500-9600
ssh_port_t                     tcp      8443
"""


class Module:
    """What a PolicyStore sees of an AnsibleModule."""

    def __init__(self, listed=LISTED, local=LOCAL, code=0, there=True):
        self.answers, self.code, self.there = {False: listed, True: local}, code, there

    def get_bin_path(self, name):
        return "/usr/sbin/" + name if self.there else None

    def run_command(self, command, **options):
        assert "sbin" in options["path_prefix"]
        assert command[:4] == ["semanage", "port", "--list", "--noheading"]
        return self.code, self.answers["--locallist" in command], "libsemanage said no"


@pytest.mark.parametrize(("protocol", "port", "kind"), [
    ("tcp", 443, "http_port_t"), ("tcp", 55000, "unreserved_port_t"), ("udp", 55000, "unreserved_port_t"), ("udp", 443, None),
    ("tcp", 9555, "http_port_t"), ("tcp", 22, "ssh_port_t"), ("tcp", 512, "hi_reserved_port_t"), ("sctp", 80, None),
    ("tcp", 8443, "ssh_port_t"),
])
def test_the_narrowest_range_says_what_a_port_is_and_the_sites_own_wins(protocol, port, kind):
    assert selinux.PolicyStore(Module()).type_of(protocol, port) == kind


@pytest.mark.parametrize(("content", "found"), [(b"1", "enforcing"), (b"0\n", "permissive"), (None, "disabled")])
def test_the_mode_is_what_the_kernel_says(tmp_path, content, found):
    if content is not None:
        (tmp_path / "enforce").write_bytes(content)
    assert selinux.mode(str(tmp_path)) == found


@pytest.mark.parametrize(("wanted", "found", "applies"), [
    ("auto", "enforcing", True), ("auto", "permissive", True), ("auto", "disabled", False), ("always", "disabled", True),
    ("never", "enforcing", False)])
def test_when_the_policy_is_looked_at(wanted, found, applies):
    assert selinux.applies(wanted, found) == applies


def test_calls_lead_there_and_back_to_what_the_site_had():
    store = selinux.PolicyStore(Module())
    entries = store.needed([Opening("tcp", 55000, None), Opening("tcp", 55000, "::1"), Opening("udp", 55000, None),
                            Opening("tcp", 8443, None), Opening("tcp", 7001, None)], "afs3_callback_port_t")
    assert [(entry["protocol"], entry["port"], entry["previous"]) for entry in entries] == [
        ("tcp", 8443, "ssh_port_t"), ("tcp", 55000, None), ("udp", 55000, None)]
    there = [(call["args"]["ports"], call["args"]["proto"], call["args"]["setype"], call["args"]["state"])
             for call in store.calls(entries[1:])]
    assert there == [(["55000"], protocol, "afs3_callback_port_t", "present") for protocol in ("tcp", "udp")]
    back = [(call["args"]["setype"], call["args"]["state"]) for call in store.calls(entries, remove=True)]
    assert back == [("ssh_port_t", "present"), ("afs3_callback_port_t", "absent"), ("afs3_callback_port_t", "absent")]
    assert {call["module"] for call in store.calls(entries)} == {"community.general.seport"}


def test_the_store_is_changed_without_the_kernel_when_asked_to():
    entry = dict(protocol="tcp", port=55000, type="http_port_t", previous=None)
    assert selinux.PolicyStore(Module(), always=True).calls([entry])[0]["args"]["ignore_selinux_state"] is True
    assert selinux.PolicyStore(Module()).calls([entry])[0]["args"]["ignore_selinux_state"] is False


@pytest.mark.parametrize(("module", "words"), [
    (Module(there=False), "install policycoreutils-python-utils"), (Module(code=1), "libsemanage said no")])
def test_a_policy_that_can_not_be_read_is_a_sentence(module, words):
    with pytest.raises(OpeningError, match=words):
        selinux.PolicyStore(module)
