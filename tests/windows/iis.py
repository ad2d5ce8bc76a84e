# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""microsoft.iis.website and website_info, which do the steps of the real ones in the same order and fail in the same places."""

import os
import time

from tests.lab.change_tracker.windows import CCS, SNI, STARTED, STOPPED, ComError

from .failed import Failed
from .files import FileError

START_SECONDS = 10.0
IN_USE = "The process cannot access the file because it is being used by another process. (Exception from HRESULT: 0x80070020)"


class Refusal(Exception):
    """What the module itself says, before it asks Windows."""


def information(given):
    """What the module takes for the identity of a binding: what is left out is empty, and no *."""
    return "%s:%s:%s" % tuple("" if given[key] is None else given[key] for key in ("ip", "port", "hostname"))


class Website:
    def __init__(self, host, call, given):
        self.host, self.machine, self.given = host, host.iis, given
        self.check_mode = call.check
        self.changed = False
        self.configuration = self.machine.configuration()
        self.site = self.configuration.site(self.given["name"])

    def act(self):
        state = self.given["state"]
        if state == "absent":
            if self.site:
                self._remove()
            return
        if not self.site:
            self._make()
        if not self.site:
            return    # in check mode
        self._settings()
        self._bindings()
        if state in ("stopped", "restarted") and self.site.state == STARTED:
            self._stop()
        if state == "started" and self.site.state == STOPPED or state == "restarted":
            self._start()

    def _write(self):
        if not self.check_mode:
            self.configuration.write()

    def _folder(self):
        path = self.given["physical_path"]
        try:
            node = self.host.files.get(self.host.expanded(path).rstrip("\\"))
        except FileError:
            node = None
        if node is None or not node.is_folder:
            raise Refusal("specified folder must already exist: physical_path")
        return path

    def _make(self):
        if not self.given["physical_path"]:
            raise Refusal("missing required arguments: physical_path")
        path = self._folder()
        self.changed = True
        if not self.check_mode:
            self.site = self.configuration.make_site(
                self.given["name"], path, self.given["application_pool"], self.given["site_id"])
            self._write()

    def _remove(self):
        self.changed = True
        if not self.check_mode:
            self.configuration.remove_site(self.site)
            self._write()

    def _settings(self):
        application = self.site.element.find("application")
        folder = application.find("virtualDirectory")
        if self.given["physical_path"] and self._folder() != folder.get("physicalPath"):
            folder.set("physicalPath", self.given["physical_path"])
            self.changed = True
        pool = self.given["application_pool"]
        if pool and pool.lower() != self.site.application_pool.lower():
            application.set("applicationPool", pool)
            self.changed = True
        if self.changed:
            self._write()

    # -- bindings
    def _ssl_flags(self, given):
        flags = 0
        for option, flag in (("use_sni", SNI), ("use_ccs", CCS)):
            if given[option]:
                if given["protocol"] != "https":
                    raise Refusal("%s can only be set for https protocol" % option)
                if not given["hostname"]:
                    raise Refusal("must specify hostname value when %s is set." % option)
                flags += flag
        if given["use_ccs"] and given["certificate_hash"]:
            raise Refusal("You set use_ccs to %s. This indicates you wish to use the Central Certificate Store feature. This "
                          "cannot be used in combination with certficiate_hash and certificate_store_name." % given["use_ccs"])
        if given["protocol"] == "https" and not given["use_ccs"] and not given["certificate_hash"]:
            raise Refusal("must either specify a certificate_hash or use_ccs.")
        if given["certificate_hash"]:
            if given["protocol"] != "https":
                raise Refusal("You can only provide a certificate thumbprint when protocol is set to https")
            if not self.machine.certificate(given["certificate_store_name"], given["certificate_hash"]):
                raise Refusal("Unable to locate certificate at cert:\\LocalMachine\\%s\\%s" % (
                    given["certificate_store_name"], given["certificate_hash"]))
        return flags

    def _bindings(self):
        wanted = self.given["bindings"] or {}
        exact, add, remove = wanted.get("set"), wanted.get("add"), wanted.get("remove")
        if exact is None and not add and not remove:
            return
        there = [binding for binding in self.site.bindings if binding.is_web]
        known = [binding.information.lower() for binding in there]
        listed = exact if exact is not None else add or []
        to_add = [given for given in listed if information(given).lower() not in known]
        to_edit = [given for given in listed if information(given).lower() in known]
        if exact is not None:
            kept = [information(given).lower() for given in exact]
            to_remove = [binding.information for binding in there if binding.information.lower() not in kept]
        else:
            gone = [information(given).lower() for given in remove or []]
            to_remove = [binding.information for binding in there if binding.information.lower() in gone]
        for given in to_add:
            self._add(given)
        for given in to_edit:
            self._edit(given, there)
        for text in to_remove:
            self._take_away(text)

    def _add(self, given):
        flags = self._ssl_flags(given)
        if not self.check_mode:
            # New-WebBinding takes an address that is left out for all of them.
            text = "%s:%d:%s" % (given["ip"] or "*", given["port"] or 80, given["hostname"] or "")
            binding = self.site.add(given["protocol"], text, flags)
            self._write()
            # A step of its own: where it fails, the binding is there without a certificate.
            if given["certificate_hash"]:
                self.machine.add_certificate(binding, given["certificate_hash"], given["certificate_store_name"])
        self.changed = True

    def _edit(self, given, there):
        [binding] = [one for one in there if one.information.lower() == information(given).lower()][:1]
        given = dict(given)
        # Counted, not masked: every flag that is neither SNI nor CCS makes it CCS.
        if given["use_sni"] is None:
            given["use_sni"] = binding.ssl_flags % 2
        if given["use_ccs"] is None:
            given["use_ccs"] = binding.ssl_flags // 2
        flags = self._ssl_flags(given)
        # The place is one among those of http and https, and is used as one among all.
        target = self.site.bindings[there.index(binding)]
        if binding.protocol != given["protocol"]:
            self.changed = True
            if not self.check_mode:
                target.element.set("protocol", given["protocol"])
        if binding.ssl_flags != flags:
            self.changed = True
            if not self.check_mode:
                target.element.set("sslFlags", str(flags))
        self._write()
        if given["certificate_hash"]:
            kept = self.machine.ssl_table().get(binding.endpoint, {"hash": "", "store": ""})
            if (kept["hash"].lower(), kept["store"].lower()) != (
                    given["certificate_hash"].lower(), given["certificate_store_name"].lower()):
                # In check mode, too.
                self.machine.add_certificate(binding, given["certificate_hash"], given["certificate_store_name"])
                self.changed = True

    def _take_away(self, text):
        # With IPv6 these are no address and no port: nothing is found then, and said to be changed.
        ip, port, hostname = (text.split(":") + [""])[:3]
        if not self.check_mode:
            for binding in self.site.named("%s:%s:%s" % (ip, port, hostname)):
                self.site.remove(binding)
            # What http.sys has of a certificate for this address stays.
            self._write()
        self.changed = True

    # -- the state
    def _stop(self):
        self.changed = True
        if not self.check_mode:
            self.machine.set_site_state(self.site.name, STOPPED)

    def _start(self):
        self.changed = True
        if not self.check_mode:
            self.machine.set_site_state(self.site.name, STARTED, asked=self.machine.state()["asked"] + 1)


def await_start(machine, name, proc):
    """Start-Website fails where the site can't have its ports, which the stand-in finds out."""
    end = time.monotonic() + START_SECONDS
    while True:
        state = machine.state()
        if not state["pid"] or not os.path.exists("%s/%d" % (proc, state["pid"])):
            return    # nothing serves here
        if state["answered"] >= state["asked"]:
            if state["sites"].get(name) == STOPPED:
                raise ComError(IN_USE)
            return
        if time.monotonic() > end:
            raise ComError("the stand-in of IIS did not look at the start of %s within %d seconds" % (name, START_SECONDS))
        time.sleep(0.02)


def machine_of(host):
    if host.iis is None:
        raise Failed("IIS is not installed on %s: the module WebAdministration can't be imported" % host.name)
    return host.iis


def website(host, call, given):
    machine = machine_of(host)
    if given["preload_enabled"]:
        raise Failed("the model of a Windows host does not know preload_enabled")
    bindings = given["bindings"] or {}
    if bindings.get("set") is not None and (bindings.get("add") is not None or bindings.get("remove") is not None):
        raise Failed("parameters are mutually exclusive: set|add, set|remove found in bindings")
    made = None
    try:
        with machine.alone():
            made = Website(host, call, given)
            asked = machine.state()["asked"]
            made.act()
            asked = machine.state()["asked"] > asked
            if host.iis_serves and not call.check:
                host.iis_serves.follow(host)
                if asked and machine.state()["sites"].get(made.site.name) == STOPPED:
                    raise ComError(IN_USE)
        if asked:
            await_start(machine, made.site.name, host.outside.proc)
    except Refusal as err:
        raise Failed(str(err), changed=made.changed)
    except ComError as err:
        raise Failed("System.Collections.Hashtable - %s" % err, changed=made.changed if made else False)
    return dict(changed=made.changed)


def as_int(text):
    """[int] of PowerShell"""
    if not text:
        return 0
    try:
        return int(text)
    except ValueError:
        raise ValueError('Cannot convert value "%s" to type "System.Int32". Error: "Input string was not in a correct '
                         'format."' % text)


def described(site, table):
    bindings = []
    for binding in site.bindings:
        parts = binding.information.split(":") + [None, None]
        kept = table.get(binding.endpoint, {}) if binding.protocol == "https" and not binding.ssl_flags & CCS else {}
        bindings.append(dict(
            ip=parts[0], port=as_int(parts[1]), hostname=parts[2], protocol=binding.protocol,
            use_ccs=bool(binding.ssl_flags & CCS), use_sni=bool(binding.ssl_flags & SNI),
            certificate_hash=kept.get("hash", ""), certificate_store_name=kept.get("store", "")))
    return dict(name=site.name, site_id=site.id, state=site.state, physical_path=site.physical_path,
                application_pool=site.application_pool, bindings=bindings)


def website_info(host, _call, given):
    machine = machine_of(host)
    configuration, table = machine.configuration(), machine.ssl_table()
    name = given["name"]
    sites = configuration.sites if name is None else [site for site in [configuration.site(name)] if site]
    try:
        found = [described(site, table) for site in sites]
    except ValueError as err:
        raise Failed("Failed to fetch the info of the required Website Exception: %s" % err, exists=True, site=[])
    return dict(exists=bool(found), site=found)
