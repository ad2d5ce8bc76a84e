# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bindings of a site of IIS, changed by modules of other collections and proved by reading again.

What counts is what http.sys listens on.  A binding can be there while http.sys does not listen: IIS stops a site that has a
port which another process has, with all of its other ports.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import RecordError
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import PortError, parse_port
from ansible_collections.portshift.agents.plugins.plugin_utils import _iis_bindings as iis
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Call, Result
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import said
from ansible_collections.portshift.agents.plugins.plugin_utils._windows_record import Content, WindowsRecord
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script

INFO, CHANGE = "microsoft.iis.website_info", "microsoft.iis.website"
LISTENERS, WAIT = "ansible.windows.win_listen_ports_facts", "ansible.windows.win_wait_for"
LOOK_AGAIN = 0.5
# Of who listens, which can't be told while a process that does is ending.
LOOKS, BETWEEN_LOOKS = 4, 1
# What is not in a binding that was added again.
FLAGS = ("no flags but those for SNI and the central store, so others that it may have had (HTTP/2 or old TLS switched off) are "
         "to be set again by hand, as is what http.sys had beside its certificate (netsh http show sslcert)")


class ListenError(EngineError):
    """A change that can't be made, or was taken back.  `more`: keys of the result beside its sentence."""

    def __init__(self, sentence: str, **more: Any) -> None:
        super().__init__(sentence)
        self.more = more


class ListenEdit:
    """One change of a site's bindings.  `call`: (name of a module or action, its arguments) -> its result.

    `script`: the host's Script, for its record.
    """

    def __init__(self, call: Call, script: Script, options: Mapping[str, Any], check_mode: bool) -> None:
        self.call, self.script, self.options, self.check_mode = call, script, options, check_mode
        self.state: str = options["state"]
        # With restored it is the record's, once that is read.
        self.port: int = options["port"]
        self.beside: int | None = options["beside"]
        self.record: WindowsRecord | None = None
        self.known: iis.Site | None = None
        self.found: list[iis.Binding] = []
        self.others: list[iis.Site] = []
        self.others_known = True
        # The other sites to begin with, and what was added again since it had gone.
        self.others_found: list[iis.Site] = []
        self.again: list[str] = []
        self.lacking: list[str] = []
        self.notes: list[str] = []
        self.restored: list[str] = []
        self.listeners: list[iis.Listener] = []
        # The ports on which http.sys listened for the site to begin with.
        self.name, self.restarted = options["site"], False
        self.listened: list[int] = []

    # --- what is

    @property
    def site(self) -> iis.Site:
        """The site, where there is one."""
        if self.known is None:
            raise iis.BindingError("no site of it is known yet")
        return self.known

    @site.setter
    def site(self, found: iis.Site | None) -> None:
        self.known = found

    def _sites(self) -> list[iis.Site]:
        """Every site that can be read.  A binding of net.tcp makes it fail for all; the hub's is read by its name then."""
        if self.others_known:
            done = self.call(INFO, {})
            if not done.get("failed"):
                return [iis.Site(entry) for entry in done["site"]]
            if not self.name:
                raise iis.BindingError("not all of its sites can be read (%s failed on the host: %s). %s"
                                       % (INFO, said(done), iis.NAME_IT + ", so that it alone is read"))
            self.others_known = False
            self.notes.append("the other sites of IIS can't be read (%s), so which ports they have is not known" % said(done))
        done = self.call(INFO, dict(name=self.name))
        if not done.get("failed"):
            return [iis.Site(entry) for entry in done["site"]]
        # What PowerShell says of what it took for the port of such a binding, in every language.
        if "System.Int32" in said(done):
            raise iis.BindingError(
                'a binding of the site "%s" can\'t be read by microsoft.iis (%s); that is one of another protocol, such as '
                "net.tcp, or one with an IPv6 address. Remove it in IIS Manager, run again, and put it back afterwards"
                % (self.name, said(done)))
        raise iis.BindingError("%s failed on the host (%s)" % (INFO, said(done)))

    @property
    def _own_record(self) -> WindowsRecord:
        if self.record is None:
            raise ListenError("%s: no record was asked for" % self.site)
        return self.record

    def _listeners(self, state: str = "Listen") -> list[iis.Listener]:
        """The sockets for TCP in that state, with their port and process each."""
        for again in reversed(range(LOOKS)):
            done = self.call(LISTENERS, dict(tcp_filter=[state]))
            if not done.get("failed"):
                listeners: list[iis.Listener] = done["ansible_facts"]["tcp_listen"]
                return listeners
            if again:
                time.sleep(BETWEEN_LOOKS)
        raise iis.BindingError(
            "%s failed on the host (%s). It does so where an endpoint belongs to a process that is gone: Get-NetTCPConnection "
            "-State %s and Get-NetUDPEndpoint show its OwningProcess; restart what started it" % (LISTENERS, said(done), state))

    def _read(self) -> None:
        """Reads who listens, then the sites: a site that is still started then was so when it was seen to listen."""
        self.listeners = self._listeners()
        sites = self._sites()
        if self.name:
            self.site = iis.named(sites, self.name)
        elif self.known is None:
            ports = [self.beside, self.port] if self.beside else [self.port]
            self.site = iis.with_port(sites, ports)
            if self.known is None and self.state == "present":
                raise iis.BindingError("no site has a binding on port %s; %s" % (
                    " or ".join(str(port) for port in ports), iis.listed(sites)))
            self.name = self.known.name if self.known else ""
        self.others = [site for site in sites if not self.known or site.name != self.known.name]

    def _listens(self, port: int) -> bool:
        return iis.http_sys_listens(self.listeners, port)

    # --- the way of a change

    def outcome(self) -> Result:
        self._require_ports()
        if self.options["record"]:
            given = dict(self.options["record"])
            if self.state != "restored":
                given["old_port"] = given["old_port"] or self._old_port(given["new_port"])
            try:
                self.record = WindowsRecord(self.script, check_mode=self.check_mode, **given)
            except RecordError as err:
                raise ListenError("%s; nothing was changed" % err)
        recorded = self.record.in_force if self.record else None
        if self.state == "restored" and not recorded:
            return self._result([], [], changed=False)
        if recorded:
            self._take_name(recorded)
        try:
            self._require_recorded_port(recorded)
            self._read()
            self.others_found = self.others
            self.found = self.known.web if self.known else []
            self.listened = sorted({binding["port"] for binding in self.found if self._listens(binding["port"])})
            if self.state == "restored" and recorded:
                return self._go_back(recorded)
            wanted = self._wanted(recorded)
            return self._bring_about(wanted)
        except (iis.BindingError, PortError) as err:
            raise ListenError("%s: %s; nothing was changed" % (self.known or "IIS", err))

    def _require_ports(self) -> None:
        if self.state == "restored":
            return
        record = self.options["record"] or {}
        for name, port in (("port", self.port), ("beside", self.beside), ("record.new_port", record.get("new_port"))):
            if port is not None:
                parse_port(port, name)
        if self.port == self.beside:
            raise PortError("port and beside are both %d; beside is the port that is there already, or that stays" % self.port)

    def _require_recorded_port(self, recorded: Content | None) -> None:
        """A port that is not the record's would not be taken back by it."""
        if not self.record:
            return
        given = self.record.move
        if self.state == "restored" or self.state == "absent" and not recorded:
            return
        left = recorded and recorded["old_port"] or given["old_port"]
        known = sorted({port for port in (given["new_port"], left) if port})
        # Where no option and no record names the port that was left, it may be any that gets its bindings from the new one.
        if self.port in known or (len(known) == 1 and self.beside in known):
            return
        raise PortError("port is %d, and the migration that %s is about %s %s, so what is done there could not be taken back. "
                        "Give record.new_port and record.old_port as the ports of this migration" % (
                            self.port, self.record.path, "has the ports" if len(known) > 1 else "has the port",
                            " and ".join(map(str, known))))

    def _old_port(self, new_port: int) -> int | None:
        """Where the caller does not say what the migration leaves."""
        left = self.beside if self.state == "present" else self.port
        return left if left != new_port else None

    def _take_name(self, recorded: Content) -> None:
        if self.name and self.name.lower() != recorded["site"].lower():
            raise ListenError('%s: it is about the site "%s", and site asks for "%s"; nothing was changed. Name the site that '
                              "the migration began with" % (
                                  self.record.path if self.record else "the record", recorded["site"], self.name))
        self.name = recorded["site"]

    def _wanted(self, recorded: Content | None) -> list[iis.Binding]:
        if self.known is None:
            return []
        if self.state == "absent":
            if self.site.having(self.port):
                if not self.options["site"] and not self.beside and not recorded:
                    # On the second run another site may be the only one that is left with the port.
                    raise iis.BindingError("it has the port, and nothing says that it is the hub's. Say so with site, or give "
                                           "the port that stays as beside")
                iis.require_readable(self.site)
            wanted, notes = iis.without(self.site, self.port, self.beside)
        else:
            iis.require_readable(self.site)
            before = iis.Recorded(before=self._before(recorded), old_port=recorded["old_port"],
                                  new_port=recorded["new_port"]) if recorded else None
            wanted, notes = iis.twins(self.site, self.beside, self.port, before)
        self.notes += notes
        return wanted

    @staticmethod
    def _before(recorded: Content | None) -> list[iis.Binding]:
        return [iis.as_read(entry) for entry in recorded["bindings_before"]] if recorded else []

    def _lacking_now(self, wanted: Iterable[iis.Binding]) -> list[str]:
        """What http.sys does not do although the bindings say so, and bindings that lack something."""
        on_port = [binding for binding in wanted if binding["port"] == self.port]
        if self.state == "absent":
            return ["still listens on port %d" % self.port] if self._still_listens() and self.site.having(self.port) else []
        return (["%s has no certificate" % iis.text(binding) for binding in self.site.having(self.port)
                 if not iis.certified(binding)]
                + (["does not listen on %d" % self.port] if on_port and not self._listens(self.port) else []))

    def _still_listens(self) -> bool:
        """Whether http.sys has the port though no site that is known has it."""
        return self.others_known and self._listens(self.port) and not any(site.having(self.port) for site in self.others)

    def _lingers(self) -> bool:
        """Whether http.sys has the port still, but not for the site: for a moment, or for what is no site, such as SSRS."""
        return self.state != "present" and self._still_listens() and not self.site.having(self.port)

    def _note_lingering(self) -> None:
        if self._lingers():
            self.notes.append("http.sys goes on listening on port %d, for no binding of a site; netsh http show servicestate "
                              "says for whom" % self.port)

    def _bring_about(self, wanted: list[iis.Binding]) -> Result:
        adds, removes = iis.missing(self.found, wanted), iis.surplus(self.found, wanted)
        changed = bool(adds or removes)
        if not self.known:
            return self._result([], [], changed=False)
        self._require_started()
        if self.state == "absent" and self.beside and not self._listens(self.beside):
            raise iis.BindingError("http.sys does not listen on port %d, which is to stay. See the System log of Windows for WAS "
                                   "and HttpEvent" % self.beside)
        self.lacking = self._lacking_now(wanted)
        if changed:
            self._require_no_obstacle(adds)
        if self.check_mode:
            self._foretell(adds)
            return self._result(self.found, wanted, changed)
        if changed:
            self._note_change()
            self._change(adds, removes, wanted)
        elif self.state == "present":
            why = self._unproved(wanted) and self._wait(wanted)
            if why:
                raise ListenError("%s: %s; nothing was changed by this run. See the System log of Windows for WAS and HttpEvent"
                                  % (self.site, why))
        self._mark("verified", changed)
        self._note_lingering()
        return self._result(self.found, self.site.web, changed)

    def _note_change(self) -> None:
        if self.record:
            try:
                self.record.before_change(self.site.name, self.site.bindings)
            except EngineError as err:
                raise ListenError("%s; nothing was changed" % err)

    def _mark(self, state: str, changed: bool) -> None:
        if self.record and self.record.in_force:
            try:
                self.record.mark(state)
            except EngineError as err:
                raise ListenError("%s: its bindings are as they should be, but %s" % (self.site, err), changed=changed)

    def _require_started(self) -> None:
        if not self.site.started:
            raise iis.BindingError("it is not started (IIS says %s), so it serves no client on any of its ports. Start it, or "
                                   "see the System log of Windows for why it was stopped" % self.site.state)

    def _require_no_obstacle(self, adds: Sequence[iis.Binding]) -> None:
        if self.state == "present":
            recorded = self.record.in_force if self.record else None
            before = self._before(recorded)
            iis.require_free(self.port, adds, self.site, self.others, self.listeners, self.others_known, before)
            self._require_addable(adds, recorded["old_port"] if recorded and before else None)
        elif self.options["users_seconds"] > 0:
            self._require_no_users()

    def _require_addable(self, adds: Sequence[iis.Binding], old_port: int | None) -> None:
        iis.require_addable(self.site, adds)
        iis.require_own_certificate(adds, self.others)
        edited = iis.edited(self.found, adds)
        self.notes += ["the binding %s gets its certificate anew; it has %s" % (iis.text(binding), FLAGS) for binding in edited]
        self.notes += ["the binding %s is put back with %s" % (iis.text(binding), FLAGS) for binding in adds
                       if binding["port"] == old_port and binding["protocol"] == "https" and binding not in edited]

    def _require_no_users(self) -> None:
        done = self.call(WAIT, dict(host="0.0.0.0", port=self.port, state="drained", timeout=self.options["users_seconds"]))
        if not done.get("failed"):
            return
        if "to drain" not in said(done):
            raise iis.BindingError("%s failed on the host (%s)" % (WAIT, said(done)))
        # A port drains minutes after its last connection: Windows keeps the end of the one that hung up first, TimeWait.
        # Asked only now, since the module looks at the process of every connection of the host.
        if not any(one["port"] == self.port for one in self._listeners("Established")):
            return
        shared = [str(site) for site in self.others if site.having(self.port)]
        raise ListenError(
            "%s: port %d is still used: in %d s there was no moment without a connection to it, and its clients would lose "
            "the hub; nothing was changed. %sLead them to the port that stays, and run again; netstat -ano on the host shows who "
            "they are. A connection that was left open ends by itself after IIS's connectionTimeout (120 s as it comes)" % (
                self.site, self.port, self.options["users_seconds"],
                "%s has the port too, and its users can't be told from these. " % " and ".join(shared) if shared else ""),
            in_use=True)

    def _foretell(self, adds: Iterable[iis.Binding]) -> None:
        """Has website look at what it would add, such as whether the certificate is in its store.

        At nothing that it would edit: that writes a certificate in check mode too.
        """
        there = set(map(iis.identity, self.found))
        new = [binding for binding in adds if iis.identity(binding) not in there]
        if new:
            why = self._call_website(new, [])
            if why:
                raise iis.BindingError(why)

    # --- doing it

    def _call_website(self, adds: Iterable[iis.Binding], removes: Iterable[iis.Binding], state: str = "started") -> str | None:
        """Why it failed, or None."""
        bindings = dict(add=[iis.to_add(binding) for binding in iis.general_first(adds)],
                        remove=[iis.to_remove(binding) for binding in removes])
        done = self.call(CHANGE, dict(name=self.name, state=state,
                                      bindings={key: entries for key, entries in bindings.items() if entries}))
        return "%s failed on the host (%s)" % (CHANGE, said(done)) if done.get("failed") else None

    def _wait(self, wanted: Sequence[iis.Binding], ports: Sequence[int] | None = None) -> str | None:
        """What is still not as it should be when the time is over; None when all is.

        A site that is stopped won't come back, nor will a binding that was there before and was to stay.
        """
        stayed = [binding for binding in wanted if not iis.missing(self.found, [binding])]
        end = time.monotonic() + self.options["timeout"]
        why: str | None
        while True:
            try:
                self._read()
                why = self._unproved(wanted, ports)
                over = (why is None and not self._lingers() or not self.site.started
                        or bool(iis.missing(self.site.web, stayed)))
            except iis.BindingError as err:
                why, over = "how it is now can't be seen: %s" % err, False
            if over or time.monotonic() > end:
                return why
            time.sleep(LOOK_AGAIN)

    def _unproved(self, wanted: Sequence[iis.Binding], ports: Sequence[int] | None = None) -> str | None:
        if not self.site.started:
            return "IIS says that the site is %s" % self.site.state
        return self._amiss(wanted) or self._silent(
            port for port in ports or [self.port] if any(binding["port"] == port for binding in wanted))

    def _silent(self, ports: Iterable[int]) -> str | None:
        silent = [str(port) for port in ports if not self._listens(port)]
        return "http.sys does not listen on port %s" % " and ".join(silent) if silent else None

    def _amiss(self, wanted: Iterable[iis.Binding]) -> str | None:
        """How the bindings are not as they should be, or None."""
        if self.state == "present":
            bare = [binding for binding in self.site.having(self.port) if not iis.certified(binding)]
            if bare:
                return "its binding %s has no certificate" % ", ".join(map(iis.text, bare))
        amiss = iis.missing(self.site.web, wanted)
        if amiss:
            return "it has no binding such as %s" % ", ".join(map(iis.text, amiss))
        extra = [binding for binding in iis.surplus(self.site.web, wanted) if binding["port"] == self.port]
        if extra:
            return "it still has the binding %s" % ", ".join(map(iis.text, extra))
        return None

    def _lost(self) -> str | None:
        """What became of other sites, or None."""
        lost = iis.lost(self.others_found, self.others)
        return "with it the binding %s changed" % " and ".join(lost) if lost else None

    def _change(self, adds: Sequence[iis.Binding], removes: Sequence[iis.Binding], wanted: Sequence[iis.Binding]) -> None:
        """Makes the change and proves it, or takes it back."""
        why = self._call_website(adds, removes) or self._wait(wanted) or self._lost()
        if why:
            raise self._taken_back(why, adds)

    def _taken_back(self, why: str, added: Iterable[iis.Binding]) -> ListenError:
        """The failure that says why, and what became of the bindings."""
        trouble = self._take_back(added)
        if trouble:
            return ListenError("%s: %s. Taking it back failed too, it needs a person: %s. It was bound to %s before"
                               % (self.site, why, trouble, ", ".join(iis.texts(self.found))), changed=True)
        done = "its bindings are as they were before%s%s%s" % (
            ", and it was started again" if self.restarted else "", self._added_again(), self._settle())
        lost = iis.lost(self.others_found, self.others)
        if lost:
            return ListenError("%s: %s; %s. But of another site %s is not as it was, which needs a person: see to its "
                               "certificate in IIS Manager" % (self.site, why, done, " and ".join(lost)), changed=True)
        return ListenError("%s: %s; %s" % (self.site, why, done))

    def _added_again(self) -> str:
        """What is to be added to a sentence about bindings that are there again."""
        again = sorted(set(self.again))
        return "; %s was added again, and has %s" % (", ".join(again), FLAGS) if again else ""

    def _settle(self) -> str:
        """Has the record say that the change was taken back.  What is to be added to the sentence about that."""
        if self.record:
            before = [binding for binding in self._before(self.record.content) if binding["protocol"] in iis.WEB]
            try:
                self.record.settle(iis.texts(self.site.web) == iis.texts(before))
            except EngineError as err:
                return ". But %s" % err
        return ""

    def _take_back(self, added: Iterable[iis.Binding]) -> str | None:
        """Why the bindings are not as they were found, and served, or None."""
        return self._bring_back(self.found, added, "started", self.listened)

    def _bring_back(self, target: Sequence[iis.Binding], added: Iterable[iis.Binding], state: str,
                    ports: Sequence[int]) -> str | None:
        """Why the bindings are not those of `target`, and served on `ports`, or None.  It is tried again until the time is over.

        Of those that are too many, what is in `added` is removed.
        """
        ours, tried = set(map(iis.identity, added)), False
        why: str | None = None
        end = time.monotonic() + self.options["timeout"]
        while True:
            over = tried and time.monotonic() > end
            try:
                self._read()
                stopped = state == "started" and not self.site.started
                self.restarted = self.restarted or stopped
                silent = self._silent(ports) if state == "started" else None
                removes = [binding for binding in iis.surplus(self.site.web, target) if iis.identity(binding) in ours]
                adds = iis.missing(self.site.web, target)
                if not removes and not adds and not stopped and not silent:
                    return None
                if over:
                    return "%s; the site is %s, and bound to %s" % (
                        why or silent or "it did not come about", self.site.state,
                        ", ".join(iis.texts(self.site.web)) or "nothing")
                self.again += iis.texts(adds)
                why = self._step_back([binding for binding in adds if iis.certified(binding)], removes, state)
            except iis.BindingError as err:
                why = str(err)
                if over:
                    return why
            tried = True
            time.sleep(LOOK_AGAIN)

    def _step_back(self, adds: Sequence[iis.Binding], removes: Sequence[iis.Binding], state: str = "started") -> str | None:
        """In two calls, since website removes after it has added, and not where that fails; last it starts the site."""
        why = self._call_website([], removes, state) if removes else None
        if adds or not removes and state == "started" and not self.site.started:
            why = self._call_website(adds, [], state) or why
        return why

    # --- the way back

    def _go_back(self, recorded: Content) -> Result:
        old_port, new_port = recorded["old_port"], recorded["new_port"]
        self.port = new_port
        wanted, changed, notes = iis.as_before(self.site, self._before(recorded), old_port, new_port)
        self.notes += notes + ["the binding %s can't be read by %s, so it stays" % (iis.text(binding), INFO)
                               for binding in self.site.unreadable]
        if changed and not self.options["force"]:
            raise iis.BindingError("going back is no longer safe: these bindings have changed since the migration: %s. Set them "
                                   "right, or have them put back in spite of that with force" % ", ".join(changed))
        adds, removes = iis.missing(self.found, wanted), iis.surplus(self.found, wanted)
        if any(binding["port"] == old_port for binding in adds):
            iis.require_free(old_port, adds, self.site, self.others, self.listeners, self.others_known, adds)
        self._require_addable(adds, old_port)
        if removes and self.options["users_seconds"] > 0:
            self._require_no_users()
        self.restored = (["%s put back" % one for one in iis.texts(adds)] + ["%s taken away" % one for one in iis.texts(removes)])
        if self.check_mode:
            self._foretell(adds)
            return self._result(self.found, wanted, True)
        state = self._state_after(recorded)
        # Before it is made.  A site that was stopped before stays so, also where this run is killed.
        if state == "started" and (adds or removes or not self.site.started):
            self._mark_ahead()
        try:
            why = self._put_back(adds, removes, wanted, state, [old_port] if old_port else []) or self._lost()
        except iis.BindingError as err:
            why = "how it is now can't be seen: %s" % err
        if why:
            # What is done of it is right, and going back goes on with the next call.
            raise ListenError("%s: it is not as it was before the migration yet: %s. Mend that, and run again" % (self.site, why),
                              changed=True)
        self._note_lingering()
        self._mark("rolled_back", True)
        return self._result(self.found, self.site.web, True)

    def _mark_ahead(self) -> None:
        try:
            self._own_record.mark("changing")
        except EngineError as err:
            raise ListenError("%s; nothing was changed" % err)

    def _put_back(self, adds: list[iis.Binding], removes: list[iis.Binding], wanted: list[iis.Binding], state: str,
                  ports: Sequence[int]) -> str | None:
        """Why it is not as it was before the migration, or None."""
        # To edit the kind of a binding, website counts places among http and https and uses them among all.
        redone = [binding for binding in adds if any(
            iis.identity(one) == iis.identity(binding) and not iis.same_kind(one, binding) for one in self.found)]
        why: str | None = None
        if redone:
            again = set(map(iis.identity, redone))
            why = self._remove(redone, [one for one in self.found if iis.identity(one) not in again], state)
            if why:
                return why
        why = None
        if adds:
            # The new port is served until the old one is.  A site that is stopped can have its ports when the new one is gone.
            serving = bool(removes) and self.site.started
            why = self._call_website(adds, [], state if serving or not removes else "stopped")
            if serving:
                why = why or self._wait(wanted + removes, ports) or self._lost()
                if why:
                    raise self._stays(why, adds)
        if removes and why is None:
            why = self._remove(removes, wanted, state)
        elif not adds and self.site.started != (state == "started"):
            why = self._call_website([], [], state)
        if why is None and state == "started":
            return self._wait(wanted, ports)
        self._read()
        if why:
            return "%s. It is bound to %s now" % (why, ", ".join(iis.texts(self.site.web)) or "nothing")
        return self._amiss(wanted)

    def _remove(self, removes: Sequence[iis.Binding], kept: Sequence[iis.Binding], state: str) -> str | None:
        """Takes bindings away.  Why it failed, or None; those of `kept` that go with them are added again."""
        served = sorted({binding["port"] for binding in kept if self._listens(binding["port"])})
        why = self._call_website([], removes, state)
        try:
            self._read()
            gone: Sequence[iis.Binding] = iis.missing(self.site.web, kept)
        except iis.BindingError:
            # They may have gone; that shows when it can be seen again.
            gone = kept
        if not gone:
            return why
        self.again = []
        trouble = self._bring_back(kept, [], state, served)
        if not self.again:
            return "how it is now can't be seen: %s" % trouble if trouble else why
        if trouble:
            became = "Adding that again failed, it needs a person: %s. It was bound to %s before" % (
                trouble, ", ".join(iis.texts(self.found)))
        else:
            became = "That was added again, with %s. See to that, and run again" % FLAGS
        raise ListenError("%s: it is not as it was before the migration yet: with %s, which was to be taken away, %s went too. %s"
                          % (self.site, ", ".join(iis.texts(removes)), ", ".join(sorted(set(self.again))), became), changed=True)

    def _stays(self, why: str, added: Iterable[iis.Binding]) -> ListenError:
        """The failure of a way back that did not get as far as to take the new port away."""
        trouble = self._take_back(added)
        if trouble:
            return ListenError("%s: it is not as it was before the migration: %s. Nor could it be left as this run found it, "
                               "which needs a person: %s" % (self.site, why, trouble), changed=True)
        told, lost = "", self._lost()
        if lost:
            told = ". But %s, which needs a person: see to its certificate in IIS Manager" % lost
        try:
            self._own_record.as_found()
        except EngineError as err:
            told += ". But %s" % err
        return ListenError("%s: it is not as it was before the migration: %s. Port %d was not taken away, and its bindings are "
                           "as this run found them%s; mend that, and run again%s" % (
                               self.site, why, self.port, self._added_again(), told), changed=bool(lost))

    def _state_after(self, recorded: Content) -> str:
        """A site that a run which did not come to its end may have stopped is started; else an administrator has stopped it."""
        if self.site.started:
            return "started"
        if recorded["state"] == "changing":
            self.notes.append("IIS says that the site is %s, which a run that did not come to its end may have led to; it %s "
                              "started" % (self.site.state, "would be" if self.check_mode else "was"))
            return "started"
        self.notes.append("IIS says that the site is %s, and it was left so. Start it" % self.site.state)
        return "stopped"

    # --- what to tell

    def _result(self, before: Sequence[iis.Binding], after: Sequence[iis.Binding], changed: bool) -> Result:
        asked = {self.port} if self.port and self.state != "restored" else set()
        ports = {binding["port"] for binding in after} | asked
        return dict(
            changed=changed, site=self.known.name if self.known else self.name,
            listens=dict(before=iis.texts(before), after=iis.texts(after)),
            ports=dict(before=sorted({one["port"] for one in before}), after=sorted({one["port"] for one in after})),
            lacking=self.lacking, elsewhere=self._elsewhere(), restored=self.restored, notes=self.notes,
            listening_by=sorted((dict(port=entry["port"], address=entry["address"], process=entry["name"], pid=entry["pid"])
                                 for entry in self.listeners if entry["port"] in ports),
                                key=lambda entry: (entry["port"], entry["address"])))

    def _elsewhere(self) -> list[str]:
        """Who else has the port."""
        if self.state == "restored":
            return []
        found = [str(site) for site in self.others if site.having(self.port)]
        found += sorted({"%s on %s" % (iis.who(entry), entry["address"])
                         for entry in iis.other_processes(self.listeners, self.port)})
        ours = self.known and self.known.having(self.port)
        if not found and not ours and self._listens(self.port):
            found.append("http.sys (process %d), for %s" % (iis.HTTP_SYS, "no binding of a site" if self.others_known else
                                                            "another site, which can't be read, or something else"))
        return found


def set_bindings(call: Call, script: Script, options: Mapping[str, Any], check_mode: bool) -> Result:
    """Brings a site's bindings to what `options` ask for.  Returns the result, a failure included."""
    edit = ListenEdit(call, script, options, check_mode)
    try:
        result = edit.outcome()
    except EngineError as err:
        result = dict(dict(failed=True, changed=False, msg=str(err)), **getattr(err, "more", {}))
    return dict(result, record=edit.record.content if edit.record else None)
