# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bridge where the kernel can do less than is asked of it; what a kernel really does stands with the integration tests."""

import os
import subprocess
import types

from ansible_collections.portshift.agents.plugins.module_utils._bridge import bridge
from ansible_collections.portshift.agents.plugins.module_utils._bridge.rules import Mapping, Rule, rules

WANTED = rules([Mapping(52311, 55000, ["tcp", "udp"])], [])
# Takes whatever does not need the match, and keeps it.
RESTORE = """#!/bin/sh
given=$(cat)
case $given in *recent*) echo "Couldn't load match recent" >&2; exit 2 ;; esac
echo "$given" >> %s
"""


def backend(tools):
    module = types.SimpleNamespace(get_bin_path=lambda name: name if name in tools else None)
    return bridge.Iptables(module, "bigfix", "/etc/portshift")


def test_bridge_stands_without_its_memory_where_the_kernel_has_no_match_recent(tmp_path):
    kept = tmp_path / "kept"
    for name, text in {"iptables-restore": RESTORE % kept, "iptables": "#!/bin/sh\nexit 0\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(["/bin/sh", "-s"], input=backend(["iptables"]).script(WANTED), text=True, capture_output=True,
                          check=False, env=dict(os.environ, PATH="%s:%s" % (tmp_path, os.environ["PATH"])))
    assert done.returncode == 0 and "who uses the port is not remembered" in done.stderr, done.stderr
    assert kept.read_text().count("REDIRECT --to-ports 55000") == 2


def test_users_are_asked_of_each_list_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(bridge, "RECENT", str(tmp_path))
    monkeypatch.setattr(bridge, "TICKS_SECONDS", 0)
    found = backend(["iptables", "ip6tables"])
    monkeypatch.setattr(bridge, "TICK_RATES", (250,))
    (tmp_path / "portshift_bigfix_6500_4").write_text(
        "src=10.0.3.7 ttl: 64 last_seen: 899000 oldest_pkt: 1 899000\nsrc=0.0.0.1 ttl: 0 last_seen: 650000 oldest_pkt: 1 650000\n"
        "src=0.0.0.2 ttl: 0 last_seen: 900000 oldest_pkt: 1 900000\n")
    (tmp_path / "portshift_bigfix_6501_6").write_text(
        "src=fd00:0000:0000:0000:0000:0000:0000:0007 ttl: 64 last_seen: 900300 oldest_pkt: 1 900300\n")
    monkeypatch.setattr(found, "_now", lambda port, ipv6: {(6500, False): 900000, (6501, True): 900250}.get((port, ipv6)))
    assert found.users([6500, 6501]) == ([("10.0.3.7", 6500, 4), ("fd00::7", 6501, 0)], 1000)


def test_bridge_of_an_earlier_version_is_said_to_remember_nothing():
    old = types.SimpleNamespace(watches=set, may_forget=False)
    found = bridge._remembered(old, [Rule("prerouting", None, "tcp", 52311, 55000)])
    assert found["users"] == [] and found["remembered_seconds"] is None and "laid by an earlier version" in found["notes"][0]
    assert bridge._remembered(old, []) == dict(users=[], remembered_seconds=None, notes=[])
