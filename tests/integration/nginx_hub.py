# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub's nginx: the real one, with a prefix and ports of its own on loopback of this machine."""

import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import time

from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import listeners
from ansible_collections.portshift.agents.tests.unit.masthead_files import session_signer
from tests.integration.ports import free_ports

NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
SECRET = "c2VjcmV0LWhlcmU="
MAIN = """\
%(user)spid %(folder)s/nginx.pid;
error_log %(folder)s/error.log;
worker_processes 1;
daemon off;
events { worker_connections 64; }
http {
    access_log off;
    client_header_timeout 1h;
    client_body_temp_path %(folder)s/tmp;
    proxy_temp_path %(folder)s/tmp;
    fastcgi_temp_path %(folder)s/tmp;
    uwsgi_temp_path %(folder)s/tmp;
    scgi_temp_path %(folder)s/tmp;
    include %(folder)s/conf.d/*.conf;
}
"""
SERVER = """\
# The hub's own: listen 1 ssl;
server {
    listen 127.0.0.1:%(port)d ssl;   # agents and console
    server_name hub.example.test;
    ssl_certificate %(cert)s;
    ssl_certificate_key %(key)s;
    proxy_set_header Authorization "Basic %(secret)s";
    location / { return 200 "hub\\n"; }
}
"""


def until(condition, what, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


class Hub:
    """A folder with nginx's configuration, and the nginx that runs on it."""

    def __init__(self, folder):
        self.folder, self.process = folder, None
        self.old, self.new = free_ports(2)
        self.key, self.cert = session_signer()
        for name in ("conf.d", "tmp"):
            (folder / name).mkdir()
        (folder / "nginx.conf").write_text(MAIN % dict(folder=folder, user="" if os.geteuid() else "user root;\n"))
        self.conf, self.record = folder / "conf.d" / "nnt.conf", folder / "state" / "hub.json"
        self.conf.write_text(self.text())
        self.conf.chmod(0o640)
        self.command = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")]

    def text(self, template=SERVER, **values):
        return template % dict(dict(port=self.old, cert=self.cert, key=self.key, secret=SECRET), **values)

    def opened(self):
        line = "    listen 127.0.0.1:%d ssl;   # agents and console\n" % self.old
        return self.text().replace(line, line + "    listen 127.0.0.1:%d ssl;\n" % self.new)

    def closed(self):
        return self.text().replace("127.0.0.1:%d ssl;   # agents and console" % self.old, "127.0.0.1:%d ssl;" % self.new)

    def other_file(self, name, text):
        path = self.folder / "conf.d" / name
        path.write_text(text)
        return path

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        until(lambda: listeners({self.old, self.new}), "nginx does not listen")
        return self

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def ask(self, port):
        """Whether the hub answers there over TLS."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
        try:
            connection.request("GET", "/api/")
            return connection.getresponse().read() == b"hub\n"
        except ConnectionRefusedError:
            return False
        finally:
            connection.close()

    def answers(self):
        return [self.ask(self.old), self.ask(self.new)]

    def state(self):
        return json.loads(self.record.read_text())["state"] if self.record.exists() else None
