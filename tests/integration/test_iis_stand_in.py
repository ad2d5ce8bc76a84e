# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in of IIS and http.sys, with the model's modules that change it: what they show is only as good as this."""

import http.client
import os
import socket
import ssl
import threading

import pytest

from tests.integration.iis_hub import HUB, WindowsHub, certificate
from tests.integration.nginx_hub import until
from tests.lab.change_tracker.windows import CCS, SNI, write

pytestmark = pytest.mark.stand_ins

OTHER = "Reports"


@pytest.fixture
def windows(tmp_path):
    """windows(sites) -> a hub that runs"""
    made = []

    def make(sites=None):
        made.append(WindowsHub(tmp_path / "machine", sites))
        return made[-1].start()

    yield make
    for hub in made:
        hub.stop()


def connected(hub, *states):
    """-> the processes that have a connection to the old port in one of these states"""
    found = hub.module("win_listen_ports_facts", tcp_filter=list(states))["ansible_facts"]["tcp_listen"]
    return [one["pid"] for one in found if one["port"] == hub.old]


def held(port):
    """Another process's socket, as far as http.sys is concerned."""
    return socket.create_server(("127.0.0.1", port))


def test_second_binding_answers_with_the_same_certificate_and_disturbs_no_connection(windows):
    hub = windows()
    assert hub.answers(hub.old) and hub.ask(hub.new) == "refused"
    assert hub.listening() == {hub.old: 4}
    kept = hub.connect(hub.old)
    assert hub.website(add=[hub.twin()])["changed"]
    until(lambda: hub.answers(hub.new), "the second port does not answer")
    assert hub.listening() == {hub.old: 4, hub.new: 4}
    assert hub.ask_again(kept) == ["/api/", "127.0.0.1", str(hub.old)]
    assert not hub.website(add=[hub.twin()])["changed"]

    assert hub.website(remove=[dict(ip="*", port=hub.new, hostname="")])["changed"]
    until(lambda: hub.ask(hub.new) == "refused", "the second port still answers")
    assert hub.ask_again(kept) == ["/api/", "127.0.0.1", str(hub.old)] and hub.listening() == {hub.old: 4}
    kept.close()


def test_connections_of_a_port_end_with_its_last_binding(windows):
    hub = windows()
    hub.website(add=[hub.twin()])
    until(lambda: hub.answers(hub.new), "the second port does not answer")
    kept = hub.connect(hub.old)
    hub.website(remove=[dict(ip="*", port=hub.old, hostname="")])
    until(lambda: hub.ask(hub.old) == "refused", "the first port still answers")
    with pytest.raises((OSError, http.client.HTTPException)):
        hub.ask_again(kept)
    kept.close()
    assert hub.answers(hub.new)


def test_site_that_cannot_have_a_port_loses_all_and_starts_only_when_it_is_free(windows):
    hub = windows([(HUB, [("https", "*:{old}:", 0, "hub")])])
    with held(hub.new):
        # As with IIS the change itself succeeds, and what it does to the site shows a moment later.
        assert hub.website(add=[hub.twin()])["changed"]
        until(lambda: hub.ask(hub.old) == "refused", "the site still answers")
        [site] = hub.module("website_info", name=HUB)["site"]
        assert site["state"] == "Stopped" and len(site["bindings"]) == 2
        done = hub.module("website", name=HUB)
        assert done["failed"] and "it is being used by another process" in done["msg"]
        assert hub.ask(hub.old) == "refused"
    assert hub.module("website", name=HUB)["changed"]
    assert hub.answers(hub.old) and hub.answers(hub.new)


def test_site_goes_on_when_another_one_stops(windows):
    hub = windows([(HUB, [("https", "*:{old}:", 0, "hub")]), (OTHER, [("https", "*:{new}:", 0, "hub")])])
    assert hub.answers(hub.old) and hub.answers(hub.new)
    assert hub.module("website", name=OTHER, state="stopped")["changed"]
    until(lambda: hub.ask(hub.new) == "refused", "the stopped site answers")
    assert hub.answers(hub.old)
    # The same binding once more: of two sites the one that was there first has it.
    assert hub.website(name=OTHER, state="stopped", add=[hub.twin(port=hub.old)])["changed"]
    assert hub.module("website", name=OTHER)["failed"]
    assert hub.answers(hub.old) and hub.ask(hub.new) == "refused"
    assert {site["name"]: site["state"] for site in hub.module("website_info")["site"]} == {HUB: "Started", OTHER: "Stopped"}


def test_start_of_the_machine_tries_every_site_anew(windows):
    hub = windows()
    hub.module("website", name=HUB, state="stopped")
    until(lambda: hub.ask(hub.old) == "refused", "the stopped site answers")
    hub.stop_iis()
    hub.start_iis()
    assert hub.answers(hub.old) and hub.module("website_info")["site"][0]["state"] == "Started"


def test_binding_whose_certificate_fails_is_left_without_one(windows):
    hub = windows()
    text = certificate()
    bare = hub.machine.put_certificate(text[:text.index("-----BEGIN PRIVATE KEY")], "WebHosting")
    assert bare == hub.thumbprint
    twin = hub.twin(certificate_store_name="WebHosting")
    predicted = hub.website(check=True, add=[twin])
    assert predicted["changed"] and hub.bindings() == ["*:%d:" % hub.old]
    done = hub.website(add=[twin])
    assert done["failed"] and "A specified logon session does not exist" in done["msg"]
    [_old, new] = hub.module("website_info", name=HUB)["site"][0]["bindings"]
    assert (new["port"], new["protocol"], new["certificate_hash"], new["certificate_store_name"]) == (hub.new, "https", "", "")
    until(lambda: hub.ask(hub.new) == "hung up", "a port without a certificate shakes hands")
    assert hub.answers(hub.old)


def test_certificate_follows_the_host_name_where_the_binding_says_so(windows):
    hub = windows([(HUB, [("https", "*:{old}:", 0, "hub"), ("https", "*:{old}:console.test", 1, "console")])])
    assert hub.ask(hub.old)[0] == hub.thumbprint
    assert hub.ask(hub.old, "console.test")[0] == hub.thumbprints["console"]
    twin = hub.twin(hostname="console.test", use_sni=True, certificate_hash=hub.thumbprints["console"])
    assert hub.website(add=[twin])["changed"]
    until(lambda: hub.ask(hub.new, "console.test") == (
        hub.thumbprints["console"], ["/api/", "127.0.0.1", str(hub.new)]), "the named binding does not answer")
    assert hub.ask(hub.new) == "hung up", "without the name there is no certificate"


def test_binding_of_the_central_store_needs_an_entry_for_its_port(windows):
    hub = windows([(HUB, [("https", "*:{old}:hub.test", SNI | CCS, None)])])
    write(hub.machine.own("certificates", "ccs", "hub.test.pem"), certificate())
    twin = hub.twin(hostname="hub.test", use_sni=True, use_ccs=True, certificate_hash=None)
    assert hub.website(add=[twin])["changed"]
    until(lambda: hub.ask(hub.old, "hub.test") == (hub.thumbprint, ["/api/", "127.0.0.1", str(hub.old)]),
          "the binding of the central store does not answer")
    until(lambda: hub.ask(hub.new, "hub.test") == "hung up", "a port without an entry shakes hands")
    with hub.machine.alone():
        hub.machine.add_central_entry(hub.machine.configuration().site(HUB).named("*:%d:hub.test" % hub.new)[0])
    until(lambda: hub.ask(hub.new, "hub.test") == (hub.thumbprint, ["/api/", "127.0.0.1", str(hub.new)]),
          "the second binding does not answer")


def test_binding_of_a_host_name_serves_no_other_name(windows):
    hub = windows([(HUB, [("https", "*:{old}:hub.test", 0, "hub")])])
    assert hub.ask(hub.old, "hub.test")[1] == ["/api/", "127.0.0.1", str(hub.old)]
    assert hub.ask(hub.old, "other.test")[1] == 404


def test_firewall_follows_the_module(windows):
    hub = windows()
    hub.machine.set_rules([])
    until(lambda: hub.ask(hub.old) == "hung up", "the firewall lets it in")
    assert hub.listening() == {hub.old: 4}, "shut is not closed"
    hub.module("win_firewall_rule", name="web", group="web", protocol="tcp", localport=str(hub.old))
    until(lambda: hub.answers(hub.old), "the firewall does not let it in")
    hub.module("win_firewall_rule", group="web", enabled=False)
    until(lambda: hub.ask(hub.old) == "hung up", "the firewall lets it in")


def test_drained_is_a_port_without_a_connection(windows):
    hub = windows()
    kept = hub.connect(hub.old)
    wait = dict(host="0.0.0.0", port=hub.old, state="drained", timeout=1)
    done = hub.module("win_wait_for", **wait)
    assert done["failed"] and done["msg"] == "timeout while waiting for 0.0.0.0:%d to drain" % hub.old
    assert (connected(hub, "Established"), connected(hub, "TimeWait")) == ([4], [])
    kept.close()
    assert not hub.module("win_wait_for", **dict(wait, timeout=60)).get("failed")
    assert connected(hub, "established", "timewait") == []
    hub.ask_last(hub.old)
    assert hub.module("win_wait_for", **wait)["failed"]
    assert (connected(hub, "Established"), connected(hub, "TimeWait")) == ([], [0])
    refused = hub.module("win_listen_ports_facts", tcp_filter=["Connected"])
    assert refused["failed"] and '"Connected"' in refused["msg"]
    assert not hub.module("win_wait_for", port=hub.old, timeout=5).get("failed")
    assert not hub.module("win_wait_for", port=hub.new, state="stopped", timeout=5).get("failed")
    assert hub.module("win_wait_for", port=hub.new, timeout=1)["failed"]


def test_application_that_is_away_is_a_503_and_the_connection_goes_on(windows):
    hub = windows()
    kept = hub.connect(hub.old)
    address = hub.server.server_address
    hub.server.shutdown()
    hub.server.server_close()
    assert hub.ask_again(kept) == 503
    hub.server = type(hub.server)(address, hub.server.RequestHandlerClass)
    threading.Thread(target=hub.server.serve_forever, daemon=True).start()
    assert hub.ask_again(kept)[0] == "/api/"
    kept.close()


def test_other_sockets_are_what_they_are(windows):
    hub = windows()
    with held(hub.new):
        assert hub.listening() == {hub.old: 4, hub.new: os.getpid()}


def test_plain_http_is_no_tls(windows):
    hub = windows([(HUB, [("https", "*:{old}:", 0, "hub"), ("http", "*:{new}:", 0, None)])])
    with pytest.raises(ssl.SSLError):
        ssl.create_default_context().wrap_socket(socket.create_connection(("127.0.0.1", hub.new)), server_hostname="hub")
    connection = http.client.HTTPConnection("127.0.0.1", hub.new, timeout=10)
    assert hub.ask_again(connection) == ["/api/", "127.0.0.1", str(hub.new)]
    connection.close()


def test_stand_in_ends_with_its_folder(windows):
    hub = windows()
    os.rename(hub.folder, hub.folder + "-gone")
    assert hub.process.wait(30) == 0
