# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a probe may be asked for, and what it returns, on Linux and on Windows hosts."""

import re

from ansible_collections.portshift.agents.plugins.module_utils._core.ports import PortError, parse_port
from ansible_collections.portshift.agents.plugins.module_utils._network.certificate import CertificateError, parse_thumbprint

# Options of M(portshift.agents.port_probe).
PROBE_SPEC = dict(
    targets=dict(type="list", elements="dict", required=True, options=dict(
        host=dict(type="str", required=True), port=dict(type="int", required=True), old_port=dict(type="int"),
        protocol=dict(type="str", choices=["tcp", "udp"], default="tcp"),
        reply_regex=dict(type="str"), http=dict(type="dict", options=dict(
            path=dict(type="str", default="/"), tls=dict(type="bool", default=False),
            status=dict(type="int", default=200), body_regex=dict(type="str"),
            any_status=dict(type="bool", default=False), thumbprint=dict(type="str"),
            server_name=dict(type="str"))))),
    port=dict(type="int"), timeout=dict(type="float", default=5), wait=dict(type="float", default=0),
    fail_on_unreachable=dict(type="bool", default=True))

# A name that TLS and an HTTP header can carry; letters of other alphabets are written by their code then.
SERVER_NAME = re.compile(r"(?=.{1,253}\Z)[^\x00-\x20/:@\[\].\x7f]{1,63}(\.[^\x00-\x20/:@\[\].\x7f]{1,63})*\Z")


def check_options(options):
    if options["port"] is not None:
        parse_port(options["port"])
    for target in options["targets"]:
        parse_port(target["port"], "the port of target %s" % target["host"])
        if target.get("old_port") is not None:
            parse_port(target["old_port"], "the old port of target %s" % target["host"])
        if target["http"] and target["protocol"] == "udp":
            raise PortError("target %s:%d asks for HTTP over UDP; leave protocol out" % (target["host"], target["port"]))
        if target.get("reply_regex") is not None and target["protocol"] != "udp":
            raise PortError("target %s:%d has a reply_regex, which is for protocol udp; ask for http and its body_regex by tcp"
                            % (target["host"], target["port"]))
        thumbprint = (target["http"] or {}).get("thumbprint")
        if thumbprint and not target["http"]["tls"]:
            raise CertificateError("target %s:%d has a thumbprint and no tls; a server shows a certificate by TLS alone, so say "
                                   "tls: true" % (target["host"], target["port"]))
        if thumbprint:
            parse_thumbprint(thumbprint)
        name = (target["http"] or {}).get("server_name")
        if name and not SERVER_NAME.match(name):
            raise PortError("target %s:%d has server_name %r, which is no name of a host; leave out what else an address of a "
                            "page has" % (target["host"], target["port"], name))
        for name, pattern in (("body_regex", target["http"] and target["http"]["body_regex"]),
                              ("reply_regex", target.get("reply_regex"))):
            try:
                re.compile(pattern or "")
            except re.error as err:
                raise PortError("%s %r is no regular expression: %s" % (name, pattern, err))


def asked(probe, options, check_mode):
    """What the module returns.  `probe`: (targets, timeout, wait) -> the result of each; `options`: those of the module."""
    targets, port = options["targets"], options["port"]
    if not targets and port is not None:
        return dict(told([], port), predicted=check_mode)
    leaving = [number for number, target in enumerate(targets) if target.get("old_port") is not None]
    # All at once: of a target that comes up meanwhile, both ports have the same time.
    results = probe(targets + [dict(targets[number], port=targets[number]["old_port"]) for number in leaving],
                    options["timeout"], options["wait"])
    for number, old in zip(leaving, results[len(targets):]):
        results[number]["old_reachable"] = old["reachable"]
    return told(results[:len(targets)], port)


def told(results, port=None):
    """The same, out of the result of each target."""
    unreachable = [result for result in results if not result["reachable"]]
    # One that answers on no port at all is down: its path may be open.
    shut = [result for result in unreachable if result.get("old_reachable") is not False]
    ports = sorted({result["port"] for result in results})
    # No target is no proof of anything, unless it is said of which port.
    found = dict(ok=(bool(results) or port is not None) and not shut, results=results, unreachable_targets=unreachable,
                 port=port if port is not None else ports[0] if len(ports) == 1 else None,
                 problems=[result["error"] for result in shut])
    if shut:
        found["msg"] = "%d of %d targets did not answer: %s" % (len(shut), len(results), "; ".join(found["problems"]))
    return found
