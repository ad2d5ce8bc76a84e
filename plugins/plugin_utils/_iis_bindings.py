# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bindings of IIS's sites, as microsoft.iis.website_info tells them: which a port needs, and what stands against it.

A binding is known by "ip:port:hostname", as IIS and microsoft.iis.website know it.  http.sys, a driver, listens for all sites,
so that the process which has their ports is System, with the number 4.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError

# Others, such as net.tcp and net.pipe, are not http.sys's to serve.
WEB = ("http", "https")
HTTP_SYS = 4
# What a twin has in common with its binding, beside the certificate.
KIND: tuple[Literal["protocol", "use_sni", "use_ccs"], ...] = ("protocol", "use_sni", "use_ccs")
NAME_IT = "Name the hub's site with site (change_tracker_hub_site in the playbooks)"


class BindingError(EngineError):
    """Bindings that can't be changed as asked."""


class Binding(TypedDict):
    """A binding as microsoft.iis.website_info tells it."""

    ip: str
    port: int
    hostname: str
    protocol: str
    use_sni: bool
    use_ccs: bool
    certificate_hash: str
    certificate_store_name: str


class Recorded(TypedDict):
    """What a record says of the migration that is under way."""

    before: list[Binding]
    old_port: int | None
    new_port: int


# A socket as ansible.windows.win_listen_ports_facts tells it: port, address, name, pid.
Listener = Mapping[str, Any]


class Site:
    """One site: `name`, `state` and `bindings`."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.name: str = entry["name"]
        self.state: str = entry.get("state") or "unknown"
        self.bindings = [as_read(binding) for binding in entry.get("bindings") or []]

    @property
    def started(self) -> bool:
        return self.state.lower() == "started"

    @property
    def unreadable(self) -> list[Binding]:
        """Those whose port website_info can't tell: it cuts "[::1]:443:" at the first colon."""
        return [binding for binding in self.bindings
                if binding["protocol"] in WEB and (binding["ip"].startswith("[") or not binding["port"])]

    @property
    def web(self) -> list[Binding]:
        unreadable = self.unreadable
        return [binding for binding in self.bindings if binding["protocol"] in WEB and binding not in unreadable]

    def having(self, port: int | None) -> list[Binding]:
        return [binding for binding in self.web if binding["port"] == port]

    @property
    def ports(self) -> list[int]:
        return sorted({binding["port"] for binding in self.web})

    def __str__(self) -> str:
        return 'site "%s"' % self.name


def as_read(entry: Mapping[str, Any]) -> Binding:
    """A binding with every key, whatever PowerShell made of what is empty."""
    return Binding(
        ip=entry.get("ip") or "", port=int(entry.get("port") or 0), hostname=entry.get("hostname") or "",
        protocol=(entry.get("protocol") or "").lower(), use_sni=bool(entry.get("use_sni")), use_ccs=bool(entry.get("use_ccs")),
        certificate_hash=(entry.get("certificate_hash") or "").upper(),
        certificate_store_name=entry.get("certificate_store_name") or "")


def identity(binding: Binding) -> str:
    # An address that is left out is every address, and New-WebBinding writes it so.
    return "%s:%d:%s" % (binding["ip"] or "*", binding["port"], binding["hostname"].lower())


def text(binding: Binding) -> str:
    """A binding in a line, such as "https *:443:hub.example.test sni 5409124040FA..."."""
    words = ["%s %s:%d:%s" % (binding["protocol"], binding["ip"], binding["port"], binding["hostname"])]
    words += ["sni"] * binding["use_sni"] + ["ccs"] * binding["use_ccs"]
    return " ".join(words + [binding["certificate_hash"]] * bool(binding["certificate_hash"]))


def texts(bindings: Iterable[Binding]) -> list[str]:
    return sorted(text(binding) for binding in bindings)


def certified(binding: Binding) -> bool:
    """Whether the binding has a certificate, or needs none of its own."""
    return binding["protocol"] != "https" or binding["use_ccs"] or bool(binding["certificate_hash"])


def same_kind(one: Binding, other: Binding) -> bool:
    return all(one[key] == other[key] for key in KIND)


def same_certificate(one: Binding, other: Binding) -> bool:
    """Whether both show the same one; what has none that it could show is like any."""
    if one["protocol"] != "https" or one["use_ccs"] or not certified(one):
        return True
    return (one["certificate_hash"], one["certificate_store_name"].lower()) == (
        other["certificate_hash"], other["certificate_store_name"].lower())


def missing(now: Iterable[Binding], wanted: Iterable[Binding]) -> list[Binding]:
    """Those of `wanted` that are not in `now`, or are there as something else."""
    found = {identity(binding): binding for binding in now}
    return [binding for binding in wanted
            if identity(binding) not in found or not same_kind(binding, found[identity(binding)])
            or not same_certificate(binding, found[identity(binding)])]


def surplus(now: Iterable[Binding], wanted: Iterable[Binding]) -> list[Binding]:
    """Those of `now` that are not in `wanted`."""
    kept = {identity(binding) for binding in wanted}
    return [binding for binding in now if identity(binding) not in kept]


def to_add(binding: Binding) -> dict[str, Any]:
    """The binding as an entry of the option bindings.add of microsoft.iis.website, which edits one that is there already."""
    entry: dict[str, Any] = dict(to_remove(binding), **{key: binding[key] for key in KIND})
    if binding["protocol"] == "https" and not binding["use_ccs"]:
        entry["certificate_hash"] = binding["certificate_hash"]
        if binding["certificate_store_name"]:
            entry["certificate_store_name"] = binding["certificate_store_name"]
    return entry


def general_first(bindings: Iterable[Binding]) -> list[Binding]:
    """In the order to add them in.

    website looks for what it has added by its address and host name, to give it the certificate.  That may find more than the
    one where either is left open, so nothing narrower is to be there yet.
    """
    return sorted(bindings, key=lambda binding: (binding["ip"] not in ("", "*"), bool(binding["hostname"])))


def to_remove(binding: Binding) -> dict[str, Any]:
    return dict(ip=binding["ip"], port=binding["port"], hostname=binding["hostname"])


# --- which site

def listed(sites: Sequence[Site]) -> str:
    """The sites with their ports, for the user who has to name one."""
    if not sites:
        return "IIS has no site"
    return "the sites of IIS are %s" % ", ".join(
        '"%s" (%s)' % (site.name, ", ".join([*map(str, site.ports), *(text(one) for one in site.unreadable)]) or "no binding")
        for site in sites)


def named(sites: Sequence[Site], name: str) -> Site:
    for site in sites:
        if site.name.lower() == name.lower():
            return site
    raise BindingError('there is no site "%s": %s. %s' % (name, listed(sites), NAME_IT))


def with_port(sites: Sequence[Site], ports: Iterable[int]) -> Site | None:
    """The one site with a binding on the first of `ports` that any site has; None where none has."""
    for port in ports:
        found = [site for site in sites if site.having(port)]
        if len(found) > 1:
            raise BindingError("several sites have a binding on port %d (%s). %s" % (
                port, ", ".join('"%s"' % site.name for site in found), NAME_IT))
        if found:
            return found[0]
    return None


# --- what is to be

def require_readable(site: Site) -> None:
    if site.unreadable:
        raise BindingError(
            "its binding %s can't be read by microsoft.iis.website_info, which takes an address in brackets (IPv6) apart at its "
            "colons, so its port is not known. Bind the site to * or to an address without colons in its place"
            % ", ".join(map(text, site.unreadable)))


def _require_certificate(binding: Binding, what: str) -> None:
    if not certified(binding):
        raise BindingError("the binding %s has no certificate, so %s. Give it one, or remove it" % (text(binding), what))


def twins(site: Site, beside: int | None, port: int, recorded: Recorded | None = None) -> tuple[list[Binding], list[str]]:
    """(the site's bindings with a twin on `port` for each on `beside`, sentences on what was left as it is).

    `recorded`: a dict with `before`, the bindings of before the migration, old_port and new_port, where there is a record of it.
    The port that was left gets back what it had alone.
    """
    partners = site.having(beside) if beside else []
    if not partners:
        if site.having(port):
            return site.web, []
        raise BindingError(
            "it has no binding on port %d, and %s" % (port, "none on port %d to stand beside (it has %s)" % (
                beside, ", ".join(map(str, site.ports)) or "no binding at all") if beside
                else "beside does not say which port's bindings are to get a twin"))
    there = {identity(binding): binding for binding in site.having(port)}
    bindings = list(site.web)
    notes: list[str] = []
    for partner in partners:
        _require_certificate(partner, "it can't get a twin")
        twin: Binding = {**partner, "port": port}
        found = there.get(identity(twin))
        if found is None and recorded and port == recorded["old_port"] and not _was_there(twin, recorded):
            notes.append("the binding %s was not put on port %d, where it was not before" % (text(partner), port))
        elif found is None:
            bindings.append(twin)
        elif _is_to_follow(found, twin, recorded):
            bindings[bindings.index(found)] = twin
        elif not missing([found], [twin]):
            continue
        elif recorded and port != recorded["new_port"]:
            notes.append("the binding %s was there before and is not the same as %s; it was left as it is"
                         % (text(found), text(partner)))
        else:
            raise BindingError("it has the binding %s already, which is not the same as %s. Make both the same, or choose "
                               "another port" % (text(found), text(partner)))
    return bindings, notes


def _was_there(binding: Binding, recorded: Recorded) -> bool:
    return identity(binding) in map(identity, recorded["before"])


def _is_to_follow(found: Binding, twin: Binding, recorded: Recorded | None) -> bool:
    """Whether a binding is one that a run put there, for what became of its partner since, or did not come to its end with."""
    if not same_kind(found, twin):
        return False
    if not certified(found):
        return True
    return recorded is not None and twin["port"] == recorded["new_port"] and not _was_there(twin, recorded)


def without(site: Site, port: int, beside: int | None = None) -> tuple[list[Binding], list[str]]:
    """(the site's bindings without those on `port`, sentences on what differs).

    `beside`: the port that stays, on which each has to have a twin that serves the clients that are led to it.
    """
    kept = [binding for binding in site.web if binding["port"] != port]
    leaving = site.having(port)
    if not leaving:
        return kept, []
    if not kept:
        raise BindingError("it has no other binding than those on port %d (%s), so no client could reach it any more"
                           % (port, ", ".join(texts(leaving))))
    notes: list[str] = []
    staying = {identity(binding): binding for binding in kept}
    for binding in leaving:
        _require_certificate(binding, "it could not be put back if need be")
        if not beside:
            continue
        twin = staying.get(identity({**binding, "port": beside}))
        if twin is None or not same_kind(binding, twin) or not certified(twin):
            raise BindingError("its binding %s has no twin on port %d%s, so what is reached by it would be lost. Let the hub be "
                               "bound to port %d beside it first, or remove that binding" % (
                                   text(binding), beside, _no_twin(binding, twin), beside))
        if not same_certificate(binding, twin):
            notes.append("the binding %s has another certificate than %s, which goes" % (text(twin), text(binding)))
    return kept, notes


def _no_twin(binding: Binding, found: Binding | None) -> str:
    """Why what stands in a twin's place is none, to follow on a sentence."""
    if found is None:
        return ""
    return " (%s %s)" % (text(found), "has no certificate" if same_kind(binding, found) else "is of another kind")


def as_before(site: Site, before: Sequence[Binding], old_port: int | None,
              new_port: int) -> tuple[list[Binding], list[str], list[str]]:
    """The way back: (the site's bindings as they are to be, changes of others that would be lost, sentences on what stays).

    Of ports that are no part of the migration nothing is touched, nor are bindings that are no twins.
    """
    known = {identity(binding): binding for binding in before}
    bindings: list[Binding] = []
    changed: list[str] = []
    notes: list[str] = []
    renewed: dict[str, Binding] = {}
    for binding in site.web:
        origin = known.get(identity({**binding, "port": old_port})) if old_port else None
        if binding["port"] != new_port or identity(binding) in known:
            bindings.append(binding)
        elif origin is None:
            bindings.append(binding)
            notes.append("the binding %s is none of the migration's, so it stays" % text(binding))
        else:
            renewed[identity(origin)] = binding
            if not same_kind(binding, origin):
                changed.append("%s (it was made as %s)" % (text(binding), text({**origin, "port": new_port})))
    for origin in before:
        if origin["port"] != old_port or origin["protocol"] not in WEB:
            continue
        found = next((binding for binding in bindings if identity(binding) == identity(origin)), None)
        successor = renewed.get(identity(origin))
        if successor and same_kind(successor, origin) and certified(successor):
            # The certificate of before may have run out, and be gone.
            origin = {**origin, "certificate_hash": successor["certificate_hash"],
                      "certificate_store_name": successor["certificate_store_name"]}
        if found is None:
            bindings.append(origin)
        elif not same_kind(found, origin):
            changed.append("%s (it was %s)" % (text(found), text(origin)))
            bindings[bindings.index(found)] = origin
        elif not certified(found):
            bindings[bindings.index(found)] = origin
    return bindings, changed, notes


# --- what stands against it

def edited(found: Iterable[Binding], adds: Iterable[Binding]) -> list[Binding]:
    """Those of `adds` that are there already, but for their certificate, so that website edits them."""
    there = {identity(binding): binding for binding in found}
    return [binding for binding in adds if identity(binding) in there and same_kind(binding, there[identity(binding)])]


def require_addable(site: Site, adds: Sequence[Binding]) -> None:
    """Fails where microsoft.iis.website would not make of `adds` what they say."""
    editing = edited(site.web, adds)
    central = [binding for binding in adds if binding["use_ccs"] and binding not in editing]
    if central:
        raise BindingError(
            "the binding %s would have its certificate from the central store, and microsoft.iis.website does not make the entry "
            "in http.sys that this needs for the port. Make both on the hub, in PowerShell with WebAdministration, and run "
            "again: %s" % (", ".join(map(text, central)), "; ".join(by_central_store(site, binding) for binding in central)))
    others = [binding for binding in site.bindings if binding["protocol"] not in WEB]
    if editing and others:
        # It counts places among those for http and https, and uses them among all.
        raise BindingError(
            "the certificate of its binding %s would have to be set, which microsoft.iis.website may do to another one where a "
            "site has bindings that are neither http nor https (this one has %s). Set it by hand in IIS Manager, to that with "
            "the thumbprint %s, and run again" % (
                ", ".join(text({**binding, "certificate_hash": ""}) for binding in editing),
                ", ".join(sorted({binding["protocol"] for binding in others})),
                ", ".join(sorted({binding["certificate_hash"] for binding in editing}))))


def by_central_store(site: Site, binding: Binding) -> str:
    """What makes a binding whose certificate comes from the central store, and its entry in http.sys."""
    flags = 3 if binding["use_sni"] else 2
    return ('New-WebBinding -Name "%s" -Protocol https -IPAddress "%s" -Port %d -HostHeader "%s" -SslFlags %d; New-Item -Path '
            '"IIS:\\SslBindings\\!%d!%s" -SSLFlags %d' % (
                site.name, binding["ip"] or "*", binding["port"], binding["hostname"], flags, binding["port"],
                binding["hostname"], flags))


def _shares(binding: Binding) -> bool:
    """Whether http.sys has the certificate of this binding for its address and port, whatever the host name and the site."""
    return binding["protocol"] == "https" and not binding["use_sni"] and not binding["use_ccs"] and certified(binding)


def require_own_certificate(adds: Iterable[Binding], others: Sequence[Site]) -> None:
    """Fails where another site would get the certificate of a binding in `adds`."""
    for binding in filter(_shares, adds):
        for other in others:
            for held in filter(_shares, other.having(binding["port"])):
                if (held["ip"] or "*") == (binding["ip"] or "*") and not same_certificate(binding, held):
                    raise BindingError(
                        "http.sys has one certificate for all bindings on %s:%d without SNI, and %s has one there with the "
                        "certificate %s (%s), so it would get that of %s, which is %s. Give both the same certificate, or "
                        "require SNI of one of them" % (
                            binding["ip"] or "*", binding["port"], other, held["certificate_hash"], text(held), text(binding),
                            binding["certificate_hash"]))


def who(listener: Listener) -> str:
    return "%s (process %s)" % (listener.get("name") or "a process", listener.get("pid"))


def listening(listeners: Iterable[Listener], port: int | None) -> list[Listener]:
    return [entry for entry in listeners if entry.get("port") == port]


def http_sys_listens(listeners: Iterable[Listener], port: int | None) -> bool:
    return any(entry.get("pid") == HTTP_SYS for entry in listening(listeners, port))


def other_processes(listeners: Iterable[Listener], port: int | None) -> list[Listener]:
    return [entry for entry in listening(listeners, port) if entry.get("pid") != HTTP_SYS]


def require_free(port: int, added: Iterable[Binding], site: Site, others: Iterable[Site], listeners: Sequence[Listener],
                 others_known: bool = True, before: Collection[Binding] = ()) -> None:
    """Fails where IIS could not have `port` for the bindings `added`.  `before`: bindings that were there before the migration.

    Those may share a port with other sites, as they did; a new port is to be the hub's alone.
    """
    for entry in other_processes(listeners, port):
        raise BindingError("port %d is taken by %s on %s, so http.sys could not have it, and IIS would stop the site. Choose "
                           "another port, or stop that one" % (port, who(entry), entry.get("address")))
    identities = set(map(identity, added))
    returning = identities <= set(map(identity, before))
    for other in others:
        held = [binding for binding in other.having(port) if not returning or identity(binding) in identities]
        if held:
            raise BindingError("port %d is bound by %s already (%s). Choose another port, or remove that binding"
                               % (port, other, ", ".join(map(text, held))))
    if not returning and not site.having(port) and http_sys_listens(listeners, port):
        whose = ("for no binding of a site" if others_known else
                 "for another site, which could not be read, or for something else than IIS")
        raise BindingError("http.sys (process %d) listens on port %d already, %s. Choose another port; netsh http show "
                           "servicestate says who has it" % (HTTP_SYS, port, whose))


def lost(before: Iterable[Site], after: Iterable[Site]) -> list[str]:
    """Bindings of other sites that changed with a change of this site: sites on one port may share its certificate."""
    now = {site.name: site.web for site in after}
    return ['%s of site "%s"' % (text(binding), site.name) for site in before if site.name in now
            for binding in missing(now[site.name], site.web)]
