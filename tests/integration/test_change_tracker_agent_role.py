# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role change_tracker_agent on a host with systemd that is reached by ssh, with an agent whose hub answers by TLS."""

import base64
import hashlib
import json
import os
import re
import ssl
import subprocess
from typing import NamedTuple

import pytest

from tests.conftest import CHECKOUT, COLLECTIONS
from tests.integration import container_site, forked
from tests.integration import test_confirmed_change_systemd as systemd

OLD, NEW = 443, 8443
PLACE = "var/nnt/gen7agent.app.netcore/"
PATH, LOG = "/" + PLACE + "HubDetails.xml", "/" + PLACE + "rolling-log.txt"
RECORD = "/var/lib/portshift/change_tracker.json"
UNDONE = "Its files are as they were before, byte for byte, and the product was started with them"
SECRETS = ("agent-7Qz", "ciphertext-9Kw", "proxypass-2")
FILE = """\ufeff<?xml version="1.0" encoding="utf-8"?>\r
<HubDetails>\r
  <!-- <Url>https://old/</Url> -->\r
  <Url>https://%s/api/</Url>\r
  <Username>agent-7Qz</Username><Password /><E1>ciphertext-9Kw==</E1>\r
  <UseDefaultProxy>%s</UseDefaultProxy>\r
  <Thumbprint>%s</Thumbprint>\r
</HubDetails>\r
"""
# Keeps a connection to the hub that its file names.  /opt/lost-on-PORT: it can't, says so in its log, and sleeps.
# /opt/dies-on-PORT: it dies a second after it was connected.
AGENT = rf"""
import os, re, socket, ssl, time
with open("{PATH}", encoding="utf-8-sig") as source:
    host, port = re.search(r"<Url>https://([0-9.]+)(?::(\d+))?/api/</Url>\s+<Username>", source.read()).groups()
while os.path.exists("/opt/lost-on-%s" % port):
    # Its retries take a while: a line of the second of the change itself may be older than the change.
    time.sleep(1.1)
    with open("{LOG}", "a") as log:
        log.write(time.strftime("%Y-%m-%d %H:%M:%S") + ",001 [INFO ] Hub Offline, connection retries exhausted\n")
    time.sleep(600)
while True:
    try:
        with ssl._create_unverified_context().wrap_socket(socket.create_connection((host, int(port or 443)), 60)) as hub:
            while os.path.exists("/opt/dies-on-%s" % port):
                time.sleep(1)
                os._exit(1)
            while hub.recv(100):
                pass
    except OSError:
        time.sleep(0.1)
"""
# Who has no login is told so.  /opt/answer-PORT: another status, as of something that stands there in place of the hub.
HUB = r"""
import http.server, os, ssl, sys
answer = "/opt/answer-" + sys.argv[1]
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(int(open(answer).read()) if os.path.exists(answer) else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *unused):
        pass
class Server(http.server.ThreadingHTTPServer):
    def finish_request(self, request, address):
        request.do_handshake()
        super().finish_request(request, address)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/opt/hub.pem")
server = Server(("", int(sys.argv[1])), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""
UNIT = ("[Unit]\nAfter=network.target\nStartLimitIntervalSec=0\n[Service]\nRestart=on-failure\nExecStart=/usr/bin/python3 %s\n"
        "[Install]\nWantedBy=multi-user.target\n")


class Show(NamedTuple):
    name: str


class Site(systemd.Site):

    def _files(self):
        root = super()._files()
        certificate = self.folder / "hub.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "9", "-subj", "/CN=hub", "-keyout", str(certificate), "-out", str(self.folder / "c.pem")],
                       check=True, stderr=subprocess.DEVNULL)
        public = (self.folder / "c.pem").read_text()
        self.fingerprint = hashlib.sha1(ssl.PEM_cert_to_DER_cert(public)).hexdigest().upper()
        units = "etc/systemd/system/"
        for path, text in (("opt/hub.pem", certificate.read_text() + public), ("opt/hub.py", HUB), ("opt/agent.py", AGENT),
                           (PLACE + "HubDetails.xml", self.file()), (units + "hub@.service", UNIT % "/opt/hub.py %i"),
                           (units + "nntgen7agentcore.service", UNIT % "/opt/agent.py")):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(text.encode("utf-8"))
        (root / PLACE / "HubDetails.xml").chmod(0o600)
        for unit, wanted in (("hub@.service", "hub@%d.service" % OLD), ("nntgen7agentcore.service",) * 2):
            (root / units / "multi-user.target.wants" / wanted).symlink_to("../" + unit)
        return root

    def file(self, thumbprint=None, default="false"):
        return FILE % (self.address, default, self.fingerprint if thumbprint is None else thumbprint)

    def answers(self):
        return self.execute("systemctl", "is-active", "nntgen7agentcore", check=False)[1].split() == [b"active"]

    def put(self, content):
        self.execute("sh", "-ec", "cat >%s; systemctl restart nntgen7agentcore" % PATH, stdin=content.encode("utf-8"))

    def reset(self):
        self.shell("systemctl unmask nntgen7agentcore 2>/dev/null; rm -rf /opt/lost-on-* /opt/dies-on-* /opt/answer-* "
                   "/var/lib/portshift %s /etc/systemd/system/nntgen7agentcore.service.d; nft flush ruleset; "
                   "systemctl daemon-reload; systemctl start hub@%d hub@%d" % (LOG, OLD, NEW))
        self.put(self.file())
        self.before = self.bytes()

    def bytes(self):
        return self.execute("cat", PATH)

    def state(self):
        code, text, _error = self.execute("cat", RECORD, check=False)
        return json.loads(text)["state"] if code == 0 else "none"

    def pid(self):
        return self.shell("systemctl show -p MainPID nntgen7agentcore").strip()

    def role(self, *steps, options=(), **variables):
        """(exit status, output, [value that was asked for]) of a play over ssh; nothing that it prints or shows holds a secret.

        `steps`: verbs of the role, each of them alone or with variables of its own, and names of the host's variables, in Show().
        """
        inventory, play = self.folder / "inventory.json", self.folder / "play.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"agent": {
            "ansible_host": self.address, "ansible_user": "root", "ansible_ssh_private_key_file": str(self.folder / "key"),
            "ansible_ssh_common_args": "-o UserKnownHostsFile=%s" % (self.folder / "known_hosts"),
            "ansible_python_interpreter": "/usr/bin/python3"}}}}))
        tasks = []
        for step in steps or ["main"]:
            if isinstance(step, Show):
                shown = "<<{{ %s | to_json | b64encode }}>>" % step.name
                tasks.append({"name": "Show", "ansible.builtin.debug": dict(msg=shown)})
                continue
            verb, own = (step, {}) if isinstance(step, str) else step
            tasks.append({"name": verb, "ansible.builtin.include_role": dict(
                name="portshift.agents.change_tracker_agent", tasks_from=verb), "vars": own})
        given = dict(dict(change_tracker_port=NEW, change_tracker_agent_evidence_timeout=20, change_tracker_agent_probe_timeout=1,
                          change_tracker_agent_confirm_timeout=60), **variables)
        play.write_text(json.dumps([dict(name="Agent", hosts="agent", gather_facts=False, tasks=tasks, vars=given)]))
        done = forked.run(
            "ansible", ["playbook", "-i", inventory, play, "--diff", "-vv", *options], timeout=300, cwd=CHECKOUT, merged=True,
            env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=COLLECTIONS, ANSIBLE_NOCOLOR="1", ANSIBLE_PIPELINING="1",
                     ANSIBLE_SSH_CONTROL_PATH_DIR=str(self.folder / "cp")))
        shown = [base64.b64decode(text).decode() for text in re.findall("<<([A-Za-z0-9+/=]+)>>", done.stdout)]
        assert not [secret for secret in SECRETS if secret in "".join([done.stdout, *shown])], done.stdout
        assert len(shown) == sum(isinstance(step, Show) for step in steps), done.stdout
        return done.returncode, " ".join(done.stdout.replace("\\n", " ").split()), list(map(json.loads, shown))

    def evidence(self, **variables):
        """What the module says is missing."""
        variables = dict(dict(change_tracker_port=OLD, change_tracker_agent_evidence_timeout=0), **variables)
        code, output, _shown = self.role("verify", **variables)
        return output if code else ""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with container_site.running(lambda engine: Site(engine, tmp_path_factory.mktemp("c"))) as site:
        yield site


@pytest.fixture
def site(made):
    made.reset()
    return made


def test_an_agent_moves_with_proof_and_back_again_byte_for_byte(site):
    pid = site.pid()
    code, output, _shown = site.role(options=["--check"])
    assert code == 0 and "changed=1 " in output and site.bytes() == site.before and site.pid() == pid and site.state() == "none"
    code, output, [path] = site.role("main", Show("change_tracker_path"))
    assert code == 0 and "changed=1 " in output, output
    assert site.bytes() == site.before.replace(b"/api/", b":%d/api/" % NEW) and site.state() == "verified"
    # The way had been proved, with the certificate compared.
    assert path == dict(ok=True, port=NEW, predicted=False, problems=[], notes=[], thumbprint_compared=True)
    pid = site.pid()
    # Again: it has moved and proves itself, and of the old port there is no proof.
    code, output, _shown = site.role("main", "verify", ("verify", dict(
        change_tracker_port=OLD, change_tracker_agent_evidence_timeout=0)))
    assert code and "leads to" in output and "changed=0 " in output and "failed=1 " in output and site.pid() == pid, output
    code, output, [way_back] = site.role("settle", "way_back", Show("change_tracker_way_back"), "rollback")
    assert way_back["ok"] and way_back["record"]["old_port"] == OLD and way_back["restorable"] == [PATH]
    assert code == 0 and "changed=1 " in output, output
    assert site.bytes() == site.before and site.state() == "rolled_back" and site.answers()
    code, output, _shown = site.role("rollback", ("verify", dict(change_tracker_port=OLD)))
    assert code == 0 and "changed=0 " in output, output
    assert site.role("close", change_tracker_agent_keep_days=0)[0] == 0


def test_a_hub_with_another_certificate_is_found_before_anything_is_touched(site):
    site.put(site.file(thumbprint="AB" * 20))
    before, pid = site.bytes(), site.pid()
    code, output, _shown = site.role()
    assert code and "The hub can't be used on the new port" in output, output
    assert site.fingerprint in output and "AB" * 20 in output
    assert (site.bytes(), site.pid(), site.state()) == (before, pid, "none")


def test_a_hub_that_is_silent_on_the_new_port_is_found_before_anything_is_touched(site):
    site.shell("systemctl stop hub@%d" % NEW)
    pid = site.pid()
    code, output, _shown = site.role()
    assert code and "connection refused: nothing listens there" in output and "nothing was changed" in output, output
    assert (site.bytes(), site.pid(), site.state()) == (site.before, pid, "none")


# What counts as the hub's answer, and what does not: tests/unit/test_change_tracker_path.py.
def test_something_else_than_the_hub_on_the_new_port_is_found_before_anything_is_touched(site):
    site.shell("echo 502 >/opt/answer-%d" % NEW)
    code, output, _shown = site.role()
    assert code and "HTTP status 502, while port %d, where the agent is now, answers with 401" % OLD in output, output
    assert (site.bytes(), site.state()) == (site.before, "none")
    # No run opens a port in check mode; where it has to be open already, it is tried there too.
    code, output, [predicted] = site.role(
        "main", Show("change_tracker_path"), ("main", dict(change_tracker_hub_server="none")), options=["--check"])
    assert predicted["ok"] and predicted["predicted"]
    assert code and "HTTP status 502" in output, output
    # Whatever the hub says, it counts on the new port too.
    site.shell("echo 502 >/opt/answer-%d" % OLD)
    _code, _output, [path] = site.role("assess", "path", Show("change_tracker_path"))
    assert path["ok"], path


@pytest.mark.long
def test_an_agent_that_dies_again_and_again_after_it_was_connected_is_put_back(site):
    site.shell("touch /opt/dies-on-%d" % NEW)
    code, output, _shown = site.role()
    assert code and UNDONE in output, output
    assert "the service nntgen7agentcore " in output and " after it was connected" in output, output
    assert site.bytes() == site.before and site.state() == "rolled_back"
    assert site.evidence(change_tracker_agent_evidence_timeout=20) == ""


@pytest.mark.long
def test_a_second_migration_that_the_host_undoes_says_so_and_leaves_it_on_the_port_of_the_first(site):
    assert site.role()[0] == 0
    moved = site.bytes()
    code, output, _shown = site.role(change_tracker_port=OLD, change_tracker_agent_check_commands=[["false"]])
    assert code and UNDONE in output, output
    assert "It was not put back" not in output and site.bytes() == moved and site.state() == "verified"


def test_an_agent_that_is_lost_on_the_new_port_is_put_back(site):
    site.shell("touch /opt/lost-on-%d" % NEW)
    code, output, _shown = site.role(
        change_tracker_agent_evidence_timeout=3, change_tracker_agent_check_commands=[["test", "-e", LOG]])
    assert code and UNDONE in output, output
    assert "Hub Offline, connection retries exhausted" in output and "has no connection to %s:%d" % (site.address, NEW) in output
    assert site.bytes() == site.before and site.state() == "rolled_back"
    # What its log says of the time before it was started again does not count against it.
    assert site.evidence(change_tracker_agent_evidence_timeout=20) == ""


def test_an_agent_that_does_not_start_is_put_back_by_the_host(site):
    # It starts with the old port alone.
    site.shell("mkdir /etc/systemd/system/nntgen7agentcore.service.d; printf '[Service]\\nExecStartPre=/bin/sh -c "
               "\"! grep -q :%d/ %s\"\\n' >/etc/systemd/system/nntgen7agentcore.service.d/old.conf; "
               "systemctl daemon-reload" % (NEW, PATH))
    code, output, _shown = site.role()
    assert code and "the change was undone" in output, output
    assert site.bytes() == site.before and site.answers()


def test_a_connection_of_another_process_is_no_proof(site):
    other = "other-%d" % os.getpid()
    site.shell("touch /opt/lost-on-None; systemctl restart nntgen7agentcore; "
               "systemd-run --unit %s python3 -c 'import socket, time; one = socket.create_connection((\"%s\", %d)); "
               "time.sleep(600)'" % (other, site.address, OLD))
    try:
        # The agent has seen that it can't, and sleeps; the other one is connected.
        site.until(lambda: site.execute("test", "-e", LOG, check=False)[0] == 0)
        site.until(lambda: " %s:%d " % (site.address, OLD) in site.shell("ss -tnpH state established | grep python3 || :"))
        said = site.evidence(change_tracker_agent_evidence_timeout=3)
        assert "the service nntgen7agentcore has no connection to %s:%d; python3 (pid " % (site.address, OLD) in said, said
        assert "which is no process of that service" in said and "Hub Offline, connection retries exhausted" in said
    finally:
        site.shell("systemctl stop %s" % other)


def test_a_hub_that_drops_what_comes_is_told_from_one_that_is_not_asked(site):
    site.shell("nft add table inet lost; nft 'add chain inet lost in { type filter hook input priority 0; }'; "
               "nft add rule inet lost in tcp dport %d drop; systemctl restart nntgen7agentcore" % OLD)
    assert "tries to connect to %s:%d, and gets no answer" % (site.address, OLD) in site.evidence(
        change_tracker_agent_evidence_timeout=4)


def test_a_service_that_is_not_there_or_masked_is_a_problem(site):
    site.shell("mv /etc/systemd/system/nntgen7agentcore.service /opt/; systemctl mask nntgen7agentcore")
    try:
        code, output, [assessed] = site.role(
            ("assess", dict(change_tracker_agent_service="nntgen8")), Show("change_tracker_assessment"), "main")
        sentence = "the service nntgen8 is not installed on this host; name the agent's service with service"
        assert not assessed["ok"] and sentence in " ".join(assessed["problems"]), assessed
        assert code and "systemd says of the service nntgen7agentcore that it is masked, so it can't be started" in output, output
    finally:
        site.shell("systemctl unmask nntgen7agentcore; mv /opt/nntgen7agentcore.service /etc/systemd/system/; "
                   "systemctl daemon-reload; systemctl restart nntgen7agentcore")


@pytest.mark.parametrize("environment, proxied", [
    ("https_proxy=http://proxyuser:proxypass-2@127.0.0.1:3128", True), ("https_proxy=http://127.0.0.1:3128 no_proxy=%s", False),
])
def test_an_agent_behind_the_systems_proxy_moves_only_when_told_so(site, environment, proxied):
    environment = environment.replace("%s", site.address)
    site.shell("mkdir /etc/systemd/system/nntgen7agentcore.service.d; printf '[Service]\\nEnvironment=%%s\\n' '%s' "
               ">/etc/systemd/system/nntgen7agentcore.service.d/proxy.conf; systemctl daemon-reload" % environment)
    # Nor is there a certificate to compare.
    site.put(site.file(default="true", thumbprint=""))
    code, output, [path, allowed] = site.role(
        "assess", "path", Show("change_tracker_path"), ("path", dict(change_tracker_agent_allow_unproved=True)),
        Show("change_tracker_path"))
    assert code == 0, output
    assert path["ok"] is not proxied and bool(path["notes"]) is proxied and path["thumbprint_compared"] is False
    if proxied:
        assert "an HTTP proxy stands between this agent and %s" % site.address in path["problems"][0]
        assert allowed["ok"] and "could not be tried before the move" in allowed["notes"][0]
    else:
        assert allowed == path


def test_the_hubs_own_host_may_be_without_an_agent(site):
    site.shell("mv %s /opt/" % PATH)
    try:
        code, output, [found] = site.role(
            ("main", dict(change_tracker_agent_required=False)), Show("change_tracker_evidence"), "main")
        assert found["ok"] and "changed=0 " in output, output
        assert code and "no HubDetails.xml was found" in output, output
    finally:
        site.shell("mv /opt/HubDetails.xml %s" % PATH)
