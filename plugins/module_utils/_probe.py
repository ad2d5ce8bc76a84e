# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether something answers at an address, by TCP, UDP or HTTP.  All targets are tried at once."""

import http.client
import re
import socket
import ssl
import threading
import time

MAX_BODY = 1024 * 1024
MAX_THREADS = 256
PAUSE = 0.2


def _get(host, port, timeout, path, tls):
    """(status, body) of a GET.  Certificates are not checked: a probe sends no secret and reads only what is public."""
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_BODY)
    finally:
        connection.close()


def _ask_http(host, port, timeout, http_options):
    """None when the answer is as wanted, else a sentence."""
    status, body = _get(host, port, timeout, http_options.get("path") or "/", http_options.get("tls"))
    wanted = http_options.get("status") or 200
    if status != wanted:
        return "HTTP status %d instead of %d for %s" % (status, wanted, http_options.get("path") or "/")
    pattern = http_options.get("body_regex")
    if pattern and not re.search(pattern.encode("utf-8"), body):
        return "the answer for %s does not match %s" % (http_options.get("path") or "/", pattern)
    check = http_options.get("check")
    return check(body) if check else None


def _ask_udp(host, port, timeout):
    """UDP gives no proof of arrival: only a refusal (ICMP port unreachable) within the time is an answer."""
    family, kind, proto, unused, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    probe = socket.socket(family, kind, proto)
    try:
        probe.settimeout(min(timeout, 1))
        probe.connect(address)
        probe.send(b"")
        probe.recv(1)
    except socket.timeout:
        pass
    finally:
        probe.close()


def probe(target, timeout):
    """One target (dict with host, port, protocol, http) -> dict of host, port, reachable, latency_ms, error."""
    host, port = target["host"], target["port"]
    started = time.time()
    try:
        if target.get("http") is not None:
            error = _ask_http(host, port, timeout, target["http"])
        elif target.get("protocol") == "udp":
            error = _ask_udp(host, port, timeout)
        else:
            error = None
            socket.create_connection((host, port), timeout).close()
    except socket.timeout:
        error = "no answer within %g s; a firewall on the way may drop it" % timeout
    except socket.gaierror as err:
        error = "the name does not resolve here (%s)" % err.strerror
    except ConnectionRefusedError:
        error = "connection refused: nothing listens there"
    except ssl.SSLError as err:
        error = "TLS failed: %s" % (err.reason or err)
    except (OSError, http.client.HTTPException, ValueError) as err:
        error = "%s" % (getattr(err, "strerror", None) or err or type(err).__name__)
    return dict(host=host, port=port, reachable=error is None, error=error,
                latency_ms=round((time.time() - started) * 1000, 1) if error is None else None)


def probe_all(targets, timeout, wait=0):
    """The results in the order of `targets`.  Targets that don't answer are tried again until `wait` seconds passed."""
    results = [None] * len(targets)
    give_up = time.time() + wait

    def work(positions):
        for position in positions:
            while True:
                results[position] = probe(targets[position], timeout)
                if results[position]["reachable"] or time.time() + PAUSE >= give_up:
                    break
                time.sleep(PAUSE)

    count = min(len(targets), MAX_THREADS)
    threads = [threading.Thread(target=work, args=(range(start, len(targets), count),)) for start in range(count)]
    for thread in threads:
        thread.daemon = True
        thread.start()
    for thread in threads:
        thread.join()
    return results
