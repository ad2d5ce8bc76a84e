# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What earlier versions left on hosts, as it is kept in tests/data/earlier_versions, and the ground on which it is put.

Each state is a folder that stands for a host.  What differs from host to host is kept as a word: @ROOT@ for that folder, @BOOT@
for the boot of the host, @NODE@ for its name, @PYTHON@ for what runs modules there.  make_earlier_version.py makes the states,
test_earlier_versions.py lets the collection of today go on from them; both know modules and their options, and nothing of how
these work.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

from tests.integration import direct_module
from tests.integration.killed_module import KilledModule

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "earlier_versions"
VERSIONS = sorted(path.name for path in DATA.iterdir() if path.is_dir()) if DATA.is_dir() else []
# The moment of the last change of a kept record: on every machine that is in the past.
MOMENT = 1700000000
# What belongs to the ground, and not to what a version left.
OURS = ("bin", "run", "tmp")
# Kept once for all states, since they are large and the same.
ONCE = {True: "run_by_systemd.zip", False: "run.zip"}
STATE = "var/lib/portshift"
# Behind the name of each file that is kept: no linter takes it for one of the project's own.
KEPT = ".kept"
ARCHIVED = re.compile(r"\d{8}T\d{6}(-[^/]*\.json)\Z")

# service(8): SERVICE and start, stop or status.  A hook may come before what it precedes.
SERVICE = """#!/bin/sh
cd '{root}/run'
echo "$1 $2" >> calls
case $2 in
    status) [ -e "$1" ] || exit 3 ;;
    stop) [ ! -e on-stop ] || . ./on-stop; rm -f "$1" ;;
    start) [ ! -e on-start ] || . ./on-start; touch "$1" ;;
esac
"""
# systemctl of a host whose units are files: it starts what a unit says, and knows which one is enabled.
SYSTEMCTL = """#!/bin/sh
mkdir -p '{root}/run/units' && cd '{root}/run/units'
echo "$*" >> ../systemctl
for last; do :; done
unit='{root}/etc/systemd/system/'"$last"
command=$(sed -n 's/^ExecStart=//p' "$unit" 2>&1)
case "$*" in
    is-active*) [ -e "active-$last" ] && echo active && exit 0; echo inactive; exit 3 ;;
    is-enabled*) [ -e "enabled-$last" ] ;;
    is-system-running*) echo running ;;
    "enable --now "*) touch "enabled-$last" "active-$last"; sh -c "exec $command" ;;
    "disable --now "*) rm -f "enabled-$last" "active-$last" ;;
    enable*) touch "enabled-$last" ;;
    disable*) rm -f "enabled-$last" ;;
    start*) sh -c "exec $command" </dev/null >/dev/null 2>&1 & ;;
esac
"""


class Ground:
    """A host: a network, /etc, /run and packet filter of its own, without systemd until it is said to have one.

    `why_not`: why this machine has no such place; then the modules run beside everything else, and who needs it skips.
    """

    def __init__(self, folder):
        self.folder, self.root, self.etc = folder, folder / "root", folder / "etc"
        # What can't be read by this user, keys mostly, is not needed.
        subprocess.run(["cp", "-r", "/etc", str(self.etc)], stderr=subprocess.DEVNULL, check=False)
        for name in ("nftables.conf", "portshift", "iptables"):
            subprocess.run(["rm", "-rf", str(self.etc / name)], check=True)
        self.holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--net", "--mount", "--", "sh", "-c",
             "mount --make-rprivate / && mount --bind %s /etc && mount -t tmpfs none /run && ip link set lo up && echo up && "
             "exec sleep 7200" % self.etc], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = self.holder.stdout.readline().strip()
        self.why_not = None if said == "up" else said or "unshare gave no namespace"
        self.prefix = [] if self.why_not else [
            "nsenter", "--target", str(self.holder.pid), "--user", "--net", "--mount", "--preserve-credentials", "--"]
        self.modules, self.packs_up = None, False

    def begin(self):
        """The modules run from now on, with the root's own commands before those of the machine."""
        self.environment = dict(os.environ, PATH="%s:%s:/usr/sbin:/sbin" % (self.root / "bin", os.environ["PATH"]))
        (self.folder / "said").mkdir(exist_ok=True)
        self.modules = KilledModule(self.folder / "said", [*self.prefix, "env", "PATH=" + self.environment["PATH"]])

    def close(self):
        if self.modules:
            self.modules.close()
        self.end_units()
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()

    # -- the host

    def command(self, *command, check=True):
        return subprocess.run([*self.prefix, *map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=check, timeout=120, env=self.environment)

    def clear(self, systemd=False):
        """A host with nothing on it but its commands."""
        self.end_units()
        if not self.why_not:
            self.command("sh", "-c", "nft flush ruleset; rm -rf /etc/portshift /etc/nftables.conf /run/systemd; "
                         "%s" % ("mkdir -p /run/systemd/system" if systemd else ":"), check=False)
        shutil.rmtree(self.root, ignore_errors=True)
        for name in OURS:
            (self.root / name).mkdir(parents=True)
        for name, text in (("service", SERVICE), ("systemctl", SYSTEMCTL)):
            if name == "service" or systemd:
                (self.root / "bin" / name).write_text(text.format(root=self.root))
                (self.root / "bin" / name).chmod(0o755)
        return self

    def put_into_etc(self):
        """What lies below etc of the root is what the host has in /etc."""
        for part in self.path("etc").iterdir():
            (shutil.copytree if part.is_dir() else shutil.copy)(part, self.etc / part.name)

    def path(self, *parts):
        return self.root.joinpath(*parts)

    def hook(self, action, script):
        self.path("run", "on-" + action).write_text(script)

    def unhook(self, action):
        self.path("run", "on-" + action).unlink()

    def calls(self, of="calls"):
        path = self.path("run", of)
        return [line for line in path.read_text().splitlines() if "status" not in line] if path.exists() else []

    def run(self, module, check=False, kill_at=None, **arguments):
        """-> the result of a module; with `kill_at` None, since it was killed there."""
        done = self.outcome(module, kill_at, _ansible_check_mode=check, **arguments)
        assert done.killed is bool(kill_at), done
        return done.result

    def outcome(self, module, kill_at=None, **arguments):
        return self.modules.run(module, dict(dict(_ansible_remote_tmp=str(self.root / "tmp"), _ansible_diff=True), **arguments),
                                kill_at)

    def alone(self, module, **arguments):
        """The same in a process that has seen no other module."""
        done = subprocess.run(
            direct_module.command(module, dict(_ansible_remote_tmp=str(self.root / "tmp"), **arguments), self.prefix),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300, env=self.environment)
        return direct_module.result(done.stdout, done.stderr)

    # -- the processes that changes leave behind

    def begin_unit(self, archive):
        """Runs what a version has packed up beside its change, as that version had it begun."""
        return subprocess.Popen([*self.prefix, sys.executable, "-I", str(archive)], stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd="/",
                                env=self.environment)

    def units(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as source:
                    words = source.read().split(b"\0")
            except OSError:
                continue
            if any(word.startswith(bytes(self.root)) and word.endswith(b"run.zip") for word in words):
                found.append(int(pid))
        return sorted(found)

    def end_units(self):
        for pid in self.units():
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass

    # -- what a version left

    def tree(self, root=None):
        """{path below the root: content} of all files that are no part of the ground."""
        root = root or self.root
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*"))
                if path.is_file() and not path.is_symlink() and path.relative_to(root).parts[0] not in OURS}

    def _words(self):
        words = [(str(self.root), "@ROOT@"), (boot_of_host(), "@BOOT_OF_HOST@"), (boot(), "@BOOT@"),
                 ('"%s"' % os.uname()[1], '"@NODE@"'), (sys.executable, "@PYTHON@")]
        return [(here.encode(), word.encode()) for here, word in words]

    def save(self, version, name, root=None):
        """Keeps the host as the state `name`; without a `root`, as it is now."""
        target = DATA / version / name
        shutil.rmtree(target, ignore_errors=True)
        files = self.tree(root)
        shift = MOMENT - _latest(files)
        for path, content in files.items():
            if path.endswith("/run.zip"):
                by_systemd = json.loads(files[os.path.dirname(path) + "/change.json"])["systemd"]
                kept = DATA / version / ONCE[by_systemd]
                assert not kept.exists() or kept.read_bytes() == content, "%s differs" % path
                kept.write_bytes(content)
                content = b""
            elif path.endswith("/reserve"):
                content = b""
            else:
                for here, word in self._words():
                    content = content.replace(here, word)
                if path.endswith((".json", ".lock")):
                    path, content = _shifted(path, content, shift)
            (target / (path + KEPT)).parent.mkdir(parents=True, exist_ok=True)
            (target / (path + KEPT)).write_bytes(content)

    def load(self, version, name, systemd=False):
        """Puts the state `name` on an empty host."""
        self.clear(systemd)
        self.add(version, name)
        return self

    def add(self, version, name):
        files = kept(version, name)
        for path, content in files.items():
            target = self.root / path
            if target.name == "run.zip":
                by_systemd = json.loads(files[os.path.dirname(path) + "/change.json"])["systemd"]
                content = (DATA / version / ONCE[by_systemd]).read_bytes()
            else:
                for here, word in self._words():
                    content = content.replace(word, here)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            # Git keeps no modes.
            target.chmod(0o600 if STATE in str(target) else 0o644)
        for folder in [self.path(STATE), *self.path(STATE).rglob("*")]:
            if folder.is_dir():
                folder.chmod(0o700)

    def json(self, path):
        return json.loads(self.path(path).read_text())

    def change_json(self, path, **values):
        """What a test may not know beforehand, such as a time that is still to come."""
        self.path(path).write_text(json.dumps(dict(self.json(path), **values), indent=2, sort_keys=True) + "\n")


def boot():
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def process_start(pid):
    return pathlib.Path("/proc/%s/stat" % pid).read_text().rpartition(")")[2].split()[19]


def boot_of_host():
    """As the collection has it, for containers: with the moment when the first process began."""
    return "%s/%s" % (boot(), process_start(1))


def boot_clock():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


# -- what is compared

def kept(version, name):
    """{path: bytes} of the files of a state, as they are kept."""
    folder = DATA / version / name
    return {path.relative_to(folder).as_posix()[:-len(KEPT)]: path.read_bytes()
            for path in sorted(folder.rglob("*" + KEPT)) if path.is_file()}


def well(result):
    assert not result.get("failed"), result["msg"]
    return result


def has_come_back(ground, version, name):
    """The product's files are those of the state `name`, which is the one before a migration."""
    before = kept(version, name)
    assert before and {path: ground.path(path).read_bytes() for path in before} == before


# -- times in what is kept

def _moments(content):
    """All times of the day in a JSON document; what a clock says since a boot is smaller, and a port too."""
    if isinstance(content, dict):
        return [moment for value in content.values() for moment in _moments(value)]
    if isinstance(content, list):
        return [moment for value in content for moment in _moments(value)]
    return [content] if isinstance(content, (int, float)) and content > 1e9 else []


def _latest(files):
    moments = []
    for path, content in files.items():
        if path.endswith((".json", ".lock")) and content.startswith(b"{"):
            moments += _moments(json.loads(content))
    return max(moments, default=MOMENT)


def _shifted(path, content, shift):
    """(the path, the bytes) of a JSON file with its times moved, those in its name too."""
    if not content.startswith(b"{"):
        return path, content

    def moved(value):
        if isinstance(value, dict):
            return {key: moved(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [moved(entry) for entry in value]
        if isinstance(value, str) and value.startswith("{\n"):
            # A record inside of a change.
            return _text(moved(json.loads(value)))
        return round(value + shift, 6) if _moments(value) else value

    document = moved(json.loads(content))
    folder, name = os.path.split(path)
    if ARCHIVED.match(name):
        name = time.strftime("%Y%m%dT%H%M%S", time.gmtime(document["started"])) + ARCHIVED.match(name).group(1)
    return os.path.join(folder, name), _text(document).encode()


def _text(document):
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


# -- the products

OLD, NEW, NEXT = 52311, 55000, 56000


class BigFix:
    """A client."""

    MASTHEAD, CONFIG = "etc/opt/BESClient/actionsite.afxm", "var/opt/BESClient/besclient.config"
    RECORD = STATE + "/bigfix.json"
    # What the product holds, on a port.
    MASTHEAD_TEXT = ("[Action Site]\n_PortNumber=%(port)d\nX-Fixlet-Site-Gather-URL: "
                     "http://bigfix.example.test:%(port)d/cgi-bin/bfgather.exe/actionsite\n"
                     "X-Fixlet-Site-Report-URL: http://bigfix.example.test:%(port)d/cgi-bin/bfenterprise/PostResults.exe\n"
                     "X-Fixlet-Site-Registration-URL: http://bigfix.example.test:%(port)d/cgi-bin/bfenterprise/clientregister.exe\n"
                     "X-Fixlet-Site-Serial-Number: 123456789\n")
    CONFIG_TEXT = ("[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\__RelayServer1]\n"
                   "value                          = http://relay1.example.test:%(port)d/bfmirror/downloads/\n"
                   "effective date                 = Thu,%%2001%%20Jan%%202015%%2000:00:00%%20+0000\n\n"
                   "[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\_Own]\n"
                   "value                          = kept\n"
                   "effective date                 = Thu,%%2001%%20Jan%%202015%%2000:00:00%%20+0000\n")

    def __init__(self, ground):
        self.ground = ground

    def lay_out(self):
        for path, text in ((self.MASTHEAD, self.MASTHEAD_TEXT), (self.CONFIG, self.CONFIG_TEXT)):
            self.ground.path(path).parent.mkdir(parents=True)
            self.ground.path(path).write_text(text % dict(port=OLD))
        self.ground.path("run/besclient").touch()

    def options(self, port):
        return dict(component="client", port=port, record=str(self.ground.path(self.RECORD)),
                    masthead_paths=[str(self.ground.path(self.MASTHEAD))], settings_paths=[str(self.ground.path(self.CONFIG))])

    def cutover(self, port=NEW, **arguments):
        return self.ground.run("bigfix_cutover", services=["besclient"],
                               service_command=[str(self.ground.path("bin/service"))], **dict(self.options(port), **arguments))

    def cutover_outcome(self, port=NEW, kill_at=None):
        return self.ground.outcome("bigfix_cutover", kill_at, services=["besclient"],
                                   service_command=[str(self.ground.path("bin/service"))], **self.options(port))

    def info(self, port=NEW, **arguments):
        return self.ground.run("bigfix_info", **dict(self.options(port), **arguments))

    def evidence(self, port=NEW, **arguments):
        return self.ground.run("bigfix_evidence", timeout=0, settle=0, **dict(self.options(port), **arguments))

    def record(self, **arguments):
        return self.ground.run("change_record", path=str(self.ground.path(self.RECORD)), **arguments)

    def files(self):
        return self.ground.path(self.MASTHEAD).read_bytes(), self.ground.path(self.CONFIG).read_bytes()

    def is_on(self, port):
        return all(b":%d/" % port in content for content in self.files())

    def runs(self):
        return self.ground.path("run/besclient").exists()


class Confirmed:
    """A product that moves by confirmed_change."""

    NAME = SERVICE = ""
    OLD = NEW = 0

    def __init__(self, ground):
        self.ground = ground
        self.record_path = STATE + "/%s.json" % self.NAME
        self.folder = STATE + "/%s.confirm" % self.NAME

    def edits(self, port):
        raise NotImplementedError

    def change(self, state, **arguments):
        service = str(self.ground.path("bin/service"))
        given = dict(name=self.NAME, state=state, state_dir=str(self.ground.path(STATE)), timeout=600, command_seconds=20,
                     unit_dir=str(self.ground.path("etc/systemd/system")), record=str(self.ground.path(self.record_path)),
                     stop=[[service, self.SERVICE, "stop"]], start=[[service, self.SERVICE, "start"]])
        if state == "begun":
            given.update(old_port=self.OLD, new_port=self.NEW, phase="1", **self.edits(self.NEW))
        # What is packed up for the process is what the module's own has loaded.
        run = self.ground.alone if self.ground.packs_up else self.ground.run
        return run("confirmed_change", **dict(given, **arguments))

    def looks(self):
        return self.ground.run("confirmed_change", name=self.NAME, state="present", state_dir=str(self.ground.path(STATE)),
                               unit_dir=str(self.ground.path("etc/systemd/system")))

    def record(self, **arguments):
        return self.ground.run("change_record", path=str(self.ground.path(self.record_path)), **arguments)

    def record_state(self):
        path = self.ground.path(self.record_path)
        return json.loads(path.read_text())["state"] if path.exists() else None

    def unit(self):
        return self.ground.path(self.folder, "run.zip")

    def runs(self):
        return self.ground.path("run", self.SERVICE).exists()

    def lay_out(self):
        for path, text in self.TEXTS.items():
            self.ground.path(path).parent.mkdir(parents=True, exist_ok=True)
            self.ground.path(path).write_text(text % dict(port=self.OLD))
        self.ground.path("run", self.SERVICE).touch()

    def files(self):
        return {path: self.ground.path(path).read_text() for path in self.TEXTS}

    def is_on(self, port):
        return self.files() == {path: text % dict(port=port) for path, text in self.TEXTS.items()}


class Boks(Confirmed):
    """A Server Agent."""

    NAME, SERVICE, OLD, NEW = "boks", "boksm", 6500, 6530
    SERVICES, ENV = "etc/services", "etc/opt/boksm/ENV"
    TEXTS = {SERVICES: "# Services of this host\nssh\t22/tcp\nboks\t\t%(port)d/tcp   # the base port\nlast\t9/udp",
             ENV: "BOKSINIT=client\n"}

    def edits(self, port):
        return dict(services_entries=[dict(path=str(self.ground.path(self.SERVICES)), name="boks", port=port)])

    def options(self):
        return dict(services_path=str(self.ground.path(self.SERVICES)), env_path=str(self.ground.path(self.ENV)), role="agent",
                    record=str(self.ground.path(self.record_path)), base_port=self.NEW)

    def info(self, **arguments):
        return self.ground.run("boks_info", **dict(self.options(), **arguments))

    def evidence(self, **arguments):
        return self.ground.run("boks_evidence", timeout=0, listening=False, **dict(self.options(), **arguments))


class ChangeTracker(Confirmed):
    """An agent."""

    NAME, SERVICE, OLD, NEW = "change_tracker", "nntgen7agentcore", 8443, 9443
    HUB = "var/nnt/gen7agent.app.netcore/HubDetails.xml"
    TEXTS = {HUB: """<?xml version="1.0" encoding="utf-8"?>
<HubDetails>
  <Url>https://hub.example.test:%(port)d/api/</Url>
  <Username>agent-example</Username>
  <Password />
  <E1>ciphertext-example</E1>
</HubDetails>
"""}

    def edits(self, port):
        return dict(hub_urls=[dict(path=str(self.ground.path(self.HUB)), port=port)])

    def info(self, **arguments):
        given = dict(port=self.NEW, path=[str(self.ground.path(self.HUB))], record=str(self.ground.path(self.record_path)))
        return self.ground.run("change_tracker_info", **dict(given, **arguments))


class NginxHub:
    """A hub's nginx: the real one, on the ground's own network."""

    OLD, NEW = 8443, 9443
    CONF, RECORD = "etc/nginx/conf.d/nnt.conf", STATE + "/change_tracker_hub.json"
    MAIN = """\
user root;
pid {root}/run/nginx.pid;
error_log {root}/run/error.log;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {root}/tmp;
    proxy_temp_path {root}/tmp;
    fastcgi_temp_path {root}/tmp;
    uwsgi_temp_path {root}/tmp;
    scgi_temp_path {root}/tmp;
    include {root}/etc/nginx/conf.d/*.conf;
}}
"""
    SERVER = """\
# The hub's own.
server {
    listen %d;   # agents and console
    server_name hub.example.test;
    location / { return 200 "hub"; }
}
"""

    def __init__(self, ground):
        self.ground = ground
        self.command = ["nginx", "-p", str(ground.root), "-c", str(ground.path("run/nginx.conf"))]

    def lay_out(self):
        self.ground.path(self.CONF).parent.mkdir(parents=True)
        self.ground.path(self.CONF).write_text(self.SERVER % self.OLD)

    def start(self):
        self.ground.path("run/nginx.conf").write_text(self.MAIN.format(root=self.ground.root))
        self.ground.command(*self.command)

    def stop(self):
        self.ground.command(*self.command, "-s", "stop", check=False)

    def listen(self, state, **arguments):
        given = dict(path=str(self.ground.path(self.CONF)), state=state, test_command=[*self.command, "-t"],
                     reload_command=[*self.command, "-s", "reload"],
                     record=dict(path=str(self.ground.path(self.RECORD)), old_port=self.OLD, new_port=self.NEW))
        if state == "present":
            given.update(port=self.NEW, beside=self.OLD)
        if state == "absent":
            given.update(port=self.OLD, beside=self.NEW)
        return self.ground.run("nginx_listen", **dict(given, **arguments))

    def record(self, **arguments):
        return self.ground.run("change_record", path=str(self.ground.path(self.RECORD)), **arguments)

    def text(self):
        return self.ground.path(self.CONF).read_text()


def bridge(ground, backend, state="present", listen=NEW, target=OLD, **arguments):
    """port_bridge with what it leaves below the root, lease included."""
    given = dict(name="bigfix", backend=backend, state=state, rules_dir=str(ground.path("etc/portshift")),
                 unit_dir=str(ground.path("etc/systemd/system")), lease=str(ground.path(STATE, "host.lock")), lease_wait=0)
    if state == "present":
        given.update(listen_port=listen, target_port=target)
    return ground.run("port_bridge", **dict(given, **arguments))


HOST_PORT_RECORD = STATE + "/bigfix.%d.host_port.json" % NEW


def host_port(ground, state, ports=(NEW,), backend="nftables", **arguments):
    """host_port; its rules lie in the ground's own /etc."""
    given = dict(name="bigfix", state=state, backend=backend, reserve=False, record=str(ground.path(HOST_PORT_RECORD)),
                 lease=str(ground.path(STATE, "host.lock")), lease_wait=0)
    if state in ("open", "closed"):
        given["openings"] = [dict(port=port, protocol=protocol) for port in ports for protocol in ("tcp", "udp")]
    return ground.run("host_port", **dict(given, **arguments))


def asker(node="control1", pid=4711):
    """A run of ansible-playbook on another machine."""
    return dict(node=node, machine_id="machine-of-" + node, boot="boot-of-" + node, pid_namespace="pid:[4026531836]",
                user="alice", pid=pid, process_start="12345", begun="2026-01-01T22:00:00Z")


LOCK = STATE + "/bigfix.lock"


def run_lock(ground, state="held", run=None, **arguments):
    return ground.run("run_lock", path=str(ground.path(LOCK)), state=state, run=run or asker(), purpose="migrate to 55000",
                      **arguments)
