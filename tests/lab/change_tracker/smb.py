# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Something that answers on port 445 of a host that a proxy monitors.  It says a word and hangs up."""

import socketserver

from .. import identity
from .host import SMB_PORT, SMB_SERVICE, Host


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.settimeout(2)
        self.request.sendall(b"\xffSMB\n")


class Server(socketserver.TCPServer):
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, _request, _address):
        pass    # a caller that has gone


def main(_arguments):
    host = Host.load()
    server = Server(("", SMB_PORT), Handler)
    identity.record(host, SMB_SERVICE)
    server.serve_forever()
