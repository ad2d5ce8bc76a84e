# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves of Windows hosts that are cut in the middle: one host for each way at each place, named after both, as C(drop07).

A way is what becomes of a request, by its number in the move (wsman.py), or of the host, by the step before which it happens:

    drop, lost     the connection ends before the request is heard, or before it is answered, and is there again
    gone           nothing of the control node is heard any more, from that request on
    refused        the account is let in no more, from that request on (401)
    error, fault, broken    an answer that says that it failed (500), a fault of WSMan, and half an answer
    boot           the host boots
"""

import pathlib

from tests.integration.product_lab import eventually

# Create, then Command, Send, Send, Receive and Signal of the look, and of the change, and Delete.
REQUESTS = range(1, 13)
AMID = range(7, 12)
WIRE = dict(drop="drop", lost="lost", gone="drop", refused="401", error="500", fault="fault", broken="break")
FOREVER = ("gone", "refused")
# A host that has gone is asked for no longer than this; a run gives it a minute.
SECONDS = 2
PLUGINS = str(pathlib.Path(__file__).parent / "callback")
HURRIED = dict(ANSIBLE_CALLBACK_PLUGINS=PLUGINS, ANSIBLE_CALLBACKS_ENABLED="hurry", PORTSHIFT_RECONNECT=str(SECONDS))


class Cuts:
    """`places`: {way: numbers}"""

    def __init__(self, **places):
        self.hosts = {"%s%02d" % (way, number): (way, number) for way, numbers in places.items() for number in numbers}
        self.boots = len(places["boot"])

    def lay(self, estate):
        for name, (way, number) in self.hosts.items():
            host = estate.hosts[name]
            if way == "boot":
                host.script.before[number] = self._boots(host, number)
            else:
                host.endpoint.at(number, WIRE[way], forever=way in FOREVER)

    @staticmethod
    def _boots(host, number):
        def boot(_step):
            del host.script.before[number]
            host.boot()
        return boot

    def let_time_pass(self, estate, seconds):
        """Until whatever the hosts had begun has ended, by them alone."""
        hosts = [estate.hosts[name] for name in self.hosts]
        eventually(lambda: not any(change.is_running for host in hosts for change in host.script.changes.values()))
        for _second in range(seconds):
            estate.pass_time(1)
        waiting = [name for name in self.hosts if estate.hosts[name].script.before]
        assert not waiting, "the step before which they were to boot did not come on %s" % ", ".join(waiting)
        # Each step of the change was one of the places.
        assert {len(change.request["steps"]) for host in hosts for change in host.script.changes.values()} == {self.boots}
        assert not [one for host in hosts for one in host.script.changes.values() if one.state in ("applying", "undoing")]
        # An account that is let in no more is not tried again, which would lock it: winrm ends what it had begun, and no more.
        for name in [name for name, (way, _number) in self.hosts.items() if way == "refused"]:
            refused = [seen.action for seen in estate.hosts[name].endpoint.seen if seen.status == 401]
            assert len(refused) == len(set(refused)) and "Create" not in refused, (name, refused)
