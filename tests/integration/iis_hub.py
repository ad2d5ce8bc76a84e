# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub on Windows for tests: a model of the host, reached over WinRM, and the stand-in of IIS on ports of this machine."""

import hashlib
import http.client
import http.server
import json
import socket
import ssl
import subprocess
import sys
import threading

from tests.integration.migration_lab import CHECKOUT
from tests.integration.nginx_hub import until
from tests.integration.ports import free_ports
from tests.lab.change_tracker.windows import Machine, lay_out
from tests.unit.masthead_files import session_signer
from tests.windows import modules
from tests.windows.host import Host
from tests.windows.payload import Call
from tests.windows.wsman import Endpoint, Server

COLLECTIONS = {"website": "microsoft.iis", "website_info": "microsoft.iis", "win_firewall_rule": "community.windows"}
HUB = "Change Tracker"    # the site


def certificate(name="hub"):
    """-> the text of certificate and key"""
    key, cert = session_signer(name)
    with open(cert) as first, open(key) as second:
        return first.read() + second.read()


class Application(http.server.BaseHTTPRequestHandler):
    """Says what it was told of the caller."""

    def do_GET(self):
        body = json.dumps([self.path, self.headers.get("X-Real-IP"), self.headers.get("X-Forwarded-Port")]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


def tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class NamedConnection(http.client.HTTPSConnection):
    """To loopback, under another name."""

    def connect(self):
        http.client.HTTPConnection.connect(self)
        self.sock = tls().wrap_socket(self.sock, server_hostname=self.name)


class WindowsHub:
    """`sites`: as lay_out takes them, with {old}, {new} in the information of a binding, and the name of a certificate for its
    thumbprint; without any: the hub's site, with its certificate on the port `old`."""

    def __init__(self, folder, sites=None):
        self.folder = str(folder)
        self.old, self.new = free_ports(2)
        self.process = self.server = None
        machine = Machine(self.folder)
        wanted = sites or [(HUB, [("https", "*:{old}:", 0, "hub")])]
        names = {name for _site, bindings in wanted for *_binding, name in bindings if name} | {"hub"}
        self.thumbprints = {name: machine.put_certificate(certificate(name)) for name in names}
        self.thumbprint = self.thumbprints["hub"]
        self.machine = lay_out(self.folder, [
            (site, [(protocol, information.format(old=self.old, new=self.new), flags, self.thumbprints.get(name))
                    for protocol, information, flags, name in bindings]) for site, bindings in wanted])
        # Its files are the model's; what IIS and Windows Firewall have is in the folder, where the stand-in reads it.
        self.host = Host("hub", ("127.0.0.1",), real=True)
        self.host.iis = self.host.firewall = self.machine
        self.host.files.folder("C:\\inetpub\\wwwroot")
        # Every socket of this machine is the hub's; those of the stand-in are http.sys's.
        self.host.outside.all = True
        self.winrm = None

    # -- the stand-in
    def start(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Application)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self.start_iis()

    def start_iis(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.lab.change_tracker.iis", self.folder, str(self.server.server_port)], cwd=CHECKOUT,
            stdin=subprocess.DEVNULL)
        until(lambda: self.machine.state()["pid"] == self.process.pid, "the stand-in of IIS does not come up")
        return self

    def stop_iis(self):
        self.process.terminate()
        self.process.wait(30)

    def stop(self):
        if self.process:
            self.stop_iis()
        if self.server:
            self.server.shutdown()
            self.server.server_close()
        if self.winrm:
            self.winrm.close()
        self.host.close()

    # -- modules
    def variables(self):
        """How Ansible reaches it."""
        if self.winrm is None:
            self.winrm = Server()
            self.endpoint = self.winrm.add(Endpoint("hub", self.host.run))
        return self.endpoint.variables()

    def module(self, module, /, check=False, diff=False, **arguments):
        """-> what the module returned"""
        return self.named("%s.%s" % (COLLECTIONS.get(module, "ansible.windows"), module), arguments, check, diff)

    def named(self, name, arguments, check=False, diff=False):
        if name == "ansible.windows.win_copy" and "_copy_mode" not in arguments:
            return modules.by_action_of_win_copy(self.host, arguments, check)
        return self.host.module(Call("module", name, arguments, check, diff))

    def website(self, check=False, name=HUB, state="started", **bindings):
        """`add`, `remove` or `set` of the bindings of a site"""
        return self.module("website", check, name=name, state=state, bindings=bindings)

    def twin(self, **changes):
        """What the hub's site has on `old`, on `new`."""
        return dict(dict(ip="*", port=self.new, hostname="", protocol="https", certificate_hash=self.thumbprint,
                         certificate_store_name="MY"), **changes)

    def bindings(self, site=HUB):
        """-> [information] as the file has them"""
        return [binding.information for binding in self.machine.configuration().site(site).bindings]

    def listening(self):
        """-> {port: pid} of what win_listen_ports_facts finds on these two ports"""
        found = self.module("win_listen_ports_facts")["ansible_facts"]["tcp_listen"]
        return {one["port"]: one["pid"] for one in found if one["port"] in (self.old, self.new)}

    # -- a caller
    def connect(self, port, name="hub"):
        """-> a connection that is kept, after its first request"""
        connection = NamedConnection("127.0.0.1", port, timeout=10)
        connection.name = name
        assert self.ask_again(connection, name)
        return connection

    def ask_again(self, connection, name="hub"):
        """-> what the application was told: [path, address, port]"""
        connection.request("GET", "/api/", headers={"Host": name})
        answer = connection.getresponse()
        body = answer.read()
        return json.loads(body) if answer.status == 200 else answer.status

    def ask_last(self, port):
        """A request after which the hub hangs up, and then the caller: the kernel keeps the end of the first one for a while."""
        connection = NamedConnection("127.0.0.1", port, timeout=10)
        connection.name = "hub"
        connection.request("GET", "/api/", headers={"Host": "hub", "Connection": "close"})
        kept = connection.sock
        assert connection.getresponse().read()
        # Past TLS, which would send an alert to the hub's closed end, and so end that too.
        assert socket.socket.recv(kept, 1, socket.MSG_PEEK) == b""
        connection.close()

    def ask(self, port, name="hub"):
        """-> (the thumbprint it presents, what the application was told), or why not"""
        connection = NamedConnection("127.0.0.1", port, timeout=10)
        connection.name = name
        try:
            connection.connect()
            thumbprint = hashlib.sha1(connection.sock.getpeercert(True)).hexdigest().upper()
            return thumbprint, self.ask_again(connection, name)
        except ConnectionRefusedError:
            return "refused"
        except (ConnectionError, ssl.SSLError, http.client.RemoteDisconnected):
            return "hung up"
        finally:
            connection.close()

    def answers(self, port):
        """Whether the hub answers there, with its certificate."""
        return self.ask(port) == (self.thumbprint, ["/api/", "127.0.0.1", str(port)])
