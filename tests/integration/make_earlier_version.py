# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what this version of the collection leaves on hosts, for the tests of later ones.

    .venv/bin/python -m tests.integration.make_earlier_version 0.1.0

A step of a release: it runs the modules of the checkout and stores what they leave in tests/data/earlier_versions/VERSION.  It
takes some minutes, most of which a change waits until it gives up going back.  Needs a network namespace with nftables, iptables
and nginx.
"""

import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import tests.conftest    # noqa: F401, where the collection lies  # pylint: disable=unused-import
from tests.integration import earlier_versions as earlier
from tests.integration.earlier_versions import NEW, NEXT, OLD, Ground
from tests.integration.waiting import until


def expect(value, found):
    if not value:
        raise SystemExit("this is not what was to be kept: %s" % (found,))


def well(result):
    if result.get("failed"):
        raise SystemExit(result["msg"])
    return result


def iis_record(folder, steps):
    from tests.integration.test_iis_listen import Hub
    hub = Hub(folder)
    try:
        hub.start()
        until(lambda: all(hub.machine.state()["sites"].get(site.name) for site in hub.machine.configuration().sites))
        for step in steps:
            well(hub.call(step))
        text = json.dumps(hub.record(), indent=2, sort_keys=True) + "\n"
        for here, word in ((hub.thumbprint, "@THUMBPRINT@"), (str(hub.old), str(OLD)), (str(hub.new), str(NEW))):
            text = re.sub(r"\b%s\b" % here, word, text)
        return text
    finally:
        hub.stop()


def copied(ground, to):
    """A hook: the host as a run that is killed right now would leave it."""
    return "cp -a '%s/.' '%s'\n" % (ground.root, to)


class Maker:
    def __init__(self, ground, version):
        self.ground, self.version = ground, version

    def save(self, name, root=None):
        self.ground.save(self.version, name, root)
        print("kept", name, flush=True)

    @contextlib.contextmanager
    def copy_at(self, action):
        """-> the folder that holds the host as it is when the service is told so."""
        with tempfile.TemporaryDirectory() as folder:
            self.ground.hook(action, copied(self.ground, folder))
            yield pathlib.Path(folder)
            if self.ground.path("run/on-" + action).exists():
                self.ground.unhook(action)

    # -- BigFix

    def bigfix(self):
        host = earlier.BigFix(self.ground)

        def anew():
            self.ground.clear()
            host.lay_out()

        anew()
        self.save("bigfix_before")
        with self.copy_at("stop") as folder:
            well(host.cutover())
            self.save("bigfix_stopped", folder)
        self.save("bigfix_moved")
        well(host.evidence(mark=True))
        self.save("bigfix_verified")
        well(host.cutover(NEXT))
        well(host.evidence(NEXT, mark=True))
        self.save("bigfix_verified_twice")

        anew()
        well(host.cutover())
        well(host.evidence(mark=True))
        with self.copy_at("stop") as folder:
            well(host.cutover(NEXT))
            self.save("bigfix_stopped_again", folder)

        anew()
        well(host.cutover())
        well(host.cutover(state="restored"))
        self.save("bigfix_rolled_back")

        # One of two files is written; the other one lies ready beside its place.
        anew()
        points = host.cutover_outcome().points
        written = [number for number, point in enumerate(points, 1)
                   if point.startswith(("rename", "replace")) and point.endswith("besclient.config")]
        expect(len(written) == 1, points)
        anew()
        expect(host.cutover_outcome(kill_at=written[0]).killed, points)
        self.save("bigfix_half_moved")

    # -- BoKS and Change Tracker

    def confirmed(self, host, systemd=False):
        def anew():
            self.ground.clear(systemd)
            host.lay_out()

        name = host.NAME + ("_by_systemd" if systemd else "")
        anew()
        begun = well(host.change("begun"))
        expect(begun["state"] == "waiting", begun)
        self.save(name + "_waiting")
        if systemd:
            return
        well(host.change("confirmed", token=begun["token"]))
        self.save(name + "_confirmed")
        self.mark(host, name)
        well(host.change("reverted"))
        self.save(name + "_rolled_back")

    def mark(self, host, name):
        if host.NAME == "boks":
            well(host.evidence(mark=True))
        else:
            # As the evidence of an agent with a connection does; nothing but the word differs.
            self.ground.change_json(host.record_path, state="verified")
        self.save(name + "_verified")

    def boks(self):
        self.confirmed(earlier.Boks(self.ground))
        self.confirmed(earlier.Boks(self.ground), systemd=True)

    def change_tracker(self):
        self.ground.clear()
        host = earlier.ChangeTracker(self.ground)
        host.lay_out()
        self.save("change_tracker_before")
        self.confirmed(host)

    def boks_amid(self):
        """The states that a process leaves which is killed."""
        host = earlier.Boks(self.ground)

        def anew():
            self.ground.clear()
            host.lay_out()

        anew()
        self.save("boks_before")
        with self.copy_at("stop") as stopped, self.copy_at("start") as edited:
            begun = well(host.change("begun"))
            self.save("boks_stopped", stopped)
            self.save("boks_edited", edited)
        with self.copy_at("start") as back:
            well(host.change("reverted"))
            self.save("boks_reverting", back)
        self.save("boks_reverted")
        expect(begun["token"], begun)

        # Handed over, and never taken: killed before it begins the process.
        given = dict(name="boks", state="begun", state_dir=str(self.ground.path(earlier.STATE)), timeout=600, command_seconds=20,
                     unit_dir=str(self.ground.path("etc/systemd/system")), record=str(self.ground.path(host.record_path)),
                     stop=[[str(self.ground.path("bin/service")), host.SERVICE, "stop"]],
                     start=[[str(self.ground.path("bin/service")), host.SERVICE, "start"]], old_port=host.OLD, new_port=host.NEW,
                     phase="1", **host.edits(host.NEW))
        anew()
        points = self.ground.outcome("confirmed_change", **given).points
        self.ground.end_units()
        [launched] = [number for number, point in enumerate(points, 1) if point.startswith("begin ") and "run.zip" in point]
        anew()
        expect(self.ground.outcome("confirmed_change", launched, **given).killed, points)
        self.save("boks_begun")

        # A start that always fails: after its last attempt at going back the change has failed.
        anew()
        self.ground.hook("start", "exit 1\n")
        failed = host.change("begun")
        expect(failed.get("state") == "failed", failed)
        self.ground.unhook("start")
        self.save("boks_failed")

    # -- the hub

    def nginx(self):
        host = earlier.NginxHub(self.ground)
        self.ground.clear()
        host.lay_out()
        self.save("nginx_before")
        host.start()
        try:
            well(host.listen("present"))
            self.save("nginx_opened")
            well(host.listen("absent"))
            self.save("nginx_closed")
            well(host.listen("restored"))
            self.save("nginx_restored")
        finally:
            host.stop()

    def iis(self):
        """Its record is all that is left on the host; the rest is IIS's own."""
        for name, steps in (("iis_opened", ["present"]), ("iis_closed", ["present", "absent"]),
                            ("iis_restored", ["present", "restored"])):
            with tempfile.TemporaryDirectory() as folder:
                self.ground.clear()
                self.ground.path("change_tracker_hub.json").write_text(iis_record(pathlib.Path(folder), steps))
                self.save(name)

    # -- what products share

    def bridges(self):
        for backend in ("nftables", "iptables"):
            self.ground.clear(systemd=True)
            well(earlier.bridge(self.ground, backend))
            self.save("bridge_" + backend)

    def host_ports(self):
        site = ("flush ruleset\ntable inet filter {\n\tchain input {\n\t\ttype filter hook input priority 0; "
                "policy drop;\n\t\ttcp dport 22 accept\n\t\ttcp dport %d accept\n\t\tudp dport %d accept\n\t}\n}\n" % (OLD, OLD))
        self.ground.clear()
        self.ground.etc.joinpath("nftables.conf").write_text(site)
        self.save_with_etc("host_port_before")
        self.ground.command("systemctl", "enable", "nftables.service")
        self.ground.command("nft", "-f", "/etc/nftables.conf")
        well(earlier.host_port(self.ground, "open"))
        self.save_with_etc("host_port_open")
        well(earlier.host_port(self.ground, "closed", [OLD]))
        self.save_with_etc("host_port_closed")

    def save_with_etc(self, name):
        shutil.rmtree(self.ground.path("etc"), ignore_errors=True)
        self.ground.path("etc").mkdir()
        for part in ("nftables.conf", "portshift"):
            found = self.ground.etc / part
            if found.is_dir():
                shutil.copytree(found, self.ground.path("etc", part))
            elif found.exists():
                shutil.copy(found, self.ground.path("etc", part))
        self.save(name)

    def locks(self):
        self.ground.clear()
        well(earlier.run_lock(self.ground))
        self.save("lock_held")
        well(earlier.run_lock(self.ground, run=earlier.asker("control2"), take_over=True))
        self.save("lock_taken_over")

        # The lease of the host, as a run that died amid a change of the firewall leaves it.
        self.ground.clear()
        points = self.ground.outcome("port_bridge", **self.bridge_given()).points
        self.ground.clear()
        asked = next(number for number, point in enumerate(points, 1) if point.startswith("begin") and "nft" in point)
        expect(self.ground.outcome("port_bridge", asked, **self.bridge_given()).killed, points)
        self.save("lease_held")

    def bridge_given(self):
        return dict(name="boks", backend="nftables", listen_port=6530, target_port=6500, persistent=False,
                    rules_dir=str(self.ground.path("etc/portshift")), unit_dir=str(self.ground.path("etc/systemd/system")),
                    lease=str(self.ground.path(earlier.STATE, "host.lock")))

    def everything(self):
        self.bigfix()
        self.boks()
        self.change_tracker()
        self.nginx()
        self.iis()
        self.bridges()
        self.host_ports()
        self.locks()
        self.boks_amid()


def main(version, *only):
    """`only`: names of methods of the Maker, to make what these keep anew."""
    if not only:
        shutil.rmtree(earlier.DATA / version, ignore_errors=True)
    (earlier.DATA / version).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="portshift-") as folder:
        ground = Ground(pathlib.Path(folder))
        try:
            if ground.why_not:
                raise SystemExit("no network namespace here: %s" % ground.why_not)
            ground.begin()
            ground.packs_up = True
            maker = Maker(ground, version)
            for name in only or ["everything"]:
                getattr(maker, name)()
        finally:
            ground.close()
    size = subprocess.run(["du", "-sh", str(earlier.DATA / version)], capture_output=True, text=True, check=True).stdout
    print("%d states, %s" % (len([path for path in (earlier.DATA / version).iterdir() if path.is_dir()]), size.split()[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
