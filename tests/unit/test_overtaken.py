# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nftables and iptables where another program changes the rules while a change of them is being made."""

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._host_port import iptables, nftables
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import ChangedMeanwhile, FileEdit
from ansible_collections.portshift.agents.plugins.module_utils._host_port.iptables import Iptables
from ansible_collections.portshift.agents.plugins.module_utils._host_port.nftables import Nftables
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import Opening

OPEN = "-A INPUT -p tcp -m tcp --dport %d -j ACCEPT"
OLD = Opening("tcp", 52311, None)


class Module:
    check_mode, _diff, params = False, False, dict(state="closed")

    def get_bin_path(self, name):
        return "/usr/sbin/" + name if not name.startswith("ip6") and "legacy" not in name else None


class Live(Iptables):
    """iptables whose rules lie in a list; `overtakers`: rules that come in front, one each time a change is tried out."""

    def __init__(self, *overtakers):
        super().__init__(Module(), "bigfix")
        self.rules, self.overtakers, self.scripts = [OPEN % 52311, OPEN % 22], list(overtakers), []

    def saved_files(self):
        return {}, {}

    def _run(self, command, data=None):
        if command[0] == "iptables-save":
            return 0, "\n".join(["*filter", ":INPUT DROP [%d:0]" % len(self.scripts)] + self.rules + ["COMMIT", ""]), ""
        assert command[0] == "iptables-restore"
        if "--test" not in command:
            self.scripts.append(data.decode())
            for line in self.scripts[-1].splitlines():
                if line.startswith("-D INPUT "):
                    del self.rules[int(line.split()[2]) - 1]
        elif self.overtakers:
            self.rules.insert(0, self.overtakers.pop(0))
        return 0, "", ""


def test_iptables_takes_its_own_rule_away_though_another_came_in_front():
    host = Live(OPEN % 8080)
    host.change([], [OLD])
    assert host.rules == [OPEN % 8080, OPEN % 22] and len(host.scripts) == 1


def test_iptables_gives_up_where_another_comes_each_time():
    host = Live(*[OPEN % port for port in range(8080, 8090)])
    with pytest.raises(ChangedMeanwhile, match="changed by another program each time"):
        host.change([], [OLD])
    assert OPEN % 52311 in host.rules and host.scripts == []


def test_nftables_plans_anew_where_a_rule_that_it_named_is_gone(monkeypatch):
    host, given = Nftables(Module(), "bigfix"), []
    monkeypatch.setattr(Nftables, "_boot", lambda self: (None, None, "nothing loads rules at boot"))
    monkeypatch.setattr(Nftables, "boot_file", lambda self: None)
    monkeypatch.setattr(Nftables, "live", lambda self: None)
    monkeypatch.setattr(Nftables, "_live_script", lambda self, *unused: "delete rule %d\n" % len(given))

    def run(self, command, data=None):
        if "-c" in command:
            return 0, "", ""
        given.append(data)
        return (1, "", "No such file or directory") if len(given) == 1 else (0, "", "")

    monkeypatch.setattr(Nftables, "_run", run)
    host.change([], [OLD])
    assert given == ["delete rule 0\n", "delete rule 1\n"]


@pytest.mark.parametrize("kind", [iptables.Iptables, nftables.Nftables])
def test_a_file_that_was_saved_meanwhile_is_read_again(kind, monkeypatch, tmp_path):
    path, tries = tmp_path / "rules", []
    path.write_bytes(b"site\n")
    host = kind(Module(), "bigfix")

    def change(add, remove):
        edit = FileEdit.read(str(path))
        tries.append(edit.before)
        if len(tries) == 1:
            path.write_bytes(b"site\nand 8080\n")
        edit.apply(edit.before + b"ours\n").commit(host.module)
        return []

    monkeypatch.setattr(host, "_change", change)
    assert host.change([], []) == [] and path.read_bytes() == b"site\nand 8080\nours\n"
    assert tries == [b"site\n", b"site\nand 8080\n"]
