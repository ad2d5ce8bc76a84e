# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The listens of one file of nginx's configuration, changed for good: written, tested by nginx, reloaded, and seen in the kernel.

What counts is what the kernel holds.  A reload that nginx could not carry out, since another process has the port, ends with exit
status 0 and the old configuration; a run that was killed leaves a file that nginx has not read yet.  Both are told by looking
who listens, before and after.

While nginx's master tries in vain to have one of its sockets, for up to 2.5 s, it listens on the others, and ends with none of
the new ones.  Its workers come when it has them all, so a socket that a worker has is one that stays.

It is done on a Linux host, in place: on Windows a hub stands behind IIS, which has its own engine.  What is judged is asked of
the Host; beside it stand the processes of nginx, and the folders that an include of its configuration means.
"""

import contextlib
import copy
import fnmatch
import glob
import os
import socket
import time
from collections import Counter

from ansible_collections.portshift.agents.plugins.module_utils._nginx import conf
from ansible_collections.portshift.agents.plugins.module_utils._core.bounded_commands import BoundedModule, told
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import (
    RECORD_SPEC, ChangeRecord, RecordError, alone_on_host)
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import (
    FileError, sha256, take_back_interrupted)
from ansible_collections.portshift.agents.plugins.module_utils._core.process_tree import has_workers, master_of, workers_of
from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import clients, plain_address
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port

# Seconds for nginx to test its configuration, or to be told to read it again.
COMMAND_TIME = 60
LOOK_AGAIN = 0.1
# Seconds for which a nginx without workers has to listen, before it is believed that it goes on with that: it tries five
# times, 0.5 s apart, to have what it can't have, and listens on the rest of the new ports meanwhile.
HELD = 6
# Between two looks at who is connected.  A busy hub's table has thousands of lines, and agents keep their connections.
LOOK_FOR_USERS = 0.25
# Addresses that one sentence names; the result has them all.
NAMED = 20
# What nginx puts before each file when it shows all of its configuration.
DUMP_MARK = b"# configuration file "
# What AnsibleModule puts behind the name of a file for that of its copy: the number of the process, and the time.
OF_A_COPY = ".1.2026-01-01@00:00:00~"

# Options of a module that changes what nginx listens on, or looks at it.
LISTEN_SPEC = dict(
    path=dict(type="path", default="/etc/nginx/conf.d/nnt.conf"), port=dict(type="int"), beside=dict(type="int"),
    state=dict(type="str", choices=["present", "absent", "restored"], default="present"),
    test_command=dict(type="list", elements="str", default=["nginx", "-t"]),
    reload_command=dict(type="list", elements="str", default=["systemctl", "reload", "nginx"]),
    users_seconds=dict(type="float", default=0), record=RECORD_SPEC, force=dict(type="bool", default=False))
REQUIRED_IF = [("state", "present", ["port"]), ("state", "absent", ["port"]), ("state", "restored", ["record"])]


class NginxEditError(EngineError):
    """A change that can't be made, or was taken back; the sentence carries the path."""


class PortInUse(NginxEditError):
    """A port that is to end and is used.  `users`: dicts with address and connections."""

    def __init__(self, sentence, users):
        super().__init__(sentence)
        self.users = users


def _who(entry):
    if entry["pid"] is None:
        return "a process that can't be seen from here"
    return "%s (process %d)" % (entry["process"] or "a process", entry["pid"])


def _address(host):
    """The address of a listen as the kernel shows it; None for a name, whose address nginx has looked up."""
    if host == "*":
        return "0.0.0.0"
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, host.strip("[]")))
    except (OSError, ValueError):
        return None


def _bound_to(host):
    """The addresses that the kernel may show for the socket of a listen on `host`; None in them stands for every one."""
    wanted = _address(host)
    return {None} if wanted is None else {wanted, "::" if ":" in wanted else "0.0.0.0"}


def _serves(address, host):
    """Whether a socket that is bound to `address` is one for a listen on `host`."""
    return not {address, None}.isdisjoint(_bound_to(host))


def _overlaps(address, listen):
    """Whether a socket of another process that is bound to `address` keeps nginx from `listen`, or may do so.

    One that is bound to "::" may be for IPv4 as well, which the kernel does not show.
    """
    address, wanted = plain_address(address), _address(listen.host)
    if wanted == "0.0.0.0":
        return ":" not in address or address == "::"
    if wanted == "::":
        return ":" in address or "ipv6only=off" in listen.parameters
    return address == "::" or _serves(address, listen.host)


# What became of a file that could not be put back.
SAVED_SINCE = ("another process has saved the file meanwhile, so it stays as it is now, and may still have this change: look "
               "into it")


class _Commands:
    """nginx, as the host's own commands reach it."""

    def __init__(self, test_command, reload_command, host):
        for option, command in (("test_command", test_command), ("reload_command", reload_command)):
            if not command:
                raise NginxEditError("%s is an empty list; give the command and its arguments as words" % option)
        self.test_command, self.reload_command, self.host, self.folder = test_command, reload_command, host, None

    def _run(self, command):
        """(why it failed or None, what it said to its output)"""
        try:
            code, out, err = self.host.run(command, COMMAND_TIME)
        except OSError as error:
            return "%s can't be run: %s" % (command[0], error.strerror or error), ""
        except EngineError as error:
            return str(error), ""
        return ("%s: exit status %d%s" % (" ".join(command), code, told(err or out)) if code else None), out

    def test(self):
        return self._run(self.test_command)[0]

    def reload(self):
        return self._run(self.reload_command)[0]

    def files(self):
        """(why the test failed or None, real path -> bytes of every file that nginx reads).

        None for the files where nginx isn't asked by its own -t, so that there is no -T to ask for.  The folder of the first
        one, from which nginx looks for what it takes in, is in C(folder) then.
        """
        if "-t" not in self.test_command:
            return self.test(), None
        why, out = self._run([{"-t": "-T"}.get(word, word) for word in self.test_command])
        found, path = {}, None
        for line in out.encode("utf-8", "replace").splitlines(True):
            if line.startswith(DUMP_MARK) and line.endswith(b":\n"):
                path = os.fsdecode(line[len(DUMP_MARK):-2])
                if not found:
                    self.folder = self.host.folder_of(path)
                path = self.host.real_path(path)
                found[path] = []
            elif path:
                found[path].append(line)
        return why, {path: b"".join(lines) for path, lines in found.items()}


class ListenEdit:
    """One change of a file's listens.  `options`: those of the module; outcome() is its result."""

    def __init__(self, module, options, host=THIS_HOST):
        self.module, self.options, self.host = module, options, host
        self.path, self.state = options["path"], options["state"]
        self.nginx = _Commands(options["test_command"], options["reload_command"], host)
        self.record = ChangeRecord.from_params(options)
        self.record_before = copy.deepcopy(self.record.content) if self.record else None
        self.edit = host.edit(self.path)
        self.lacking, self.reloaded, self.warnings = [], False, []
        self.saved_since = False
        self.before = self.edit.before
        try:
            self.after = self._planned()
            self.listens = [self._listens_before(), conf.listens(self.after)]
        except EngineError as err:
            raise NginxEditError(str(err) if isinstance(err, (FileError, RecordError)) else "%s: %s" % (self.path, err))
        self.watched = self._watched()
        # What else in this file has a port, as stream may, goes on having it, as another file does.
        self.elsewhere = conf.other_ports(self.after)
        self.others = (["%s (outside of its web servers)" % self.path]
                       if self.state != "restored" and self.watched & self.elsewhere else [])
        self.protocols = {listen.protocol for content in self.listens for listen in content} or {"tcp"}

    # --- what is to be

    def _planned(self):
        if self.state == "present":
            return conf.with_twins(self.before, self.options["beside"], self.options["port"])
        if self.state == "absent":
            return conf.without(self.before, self.options["port"], self.options["beside"])
        entry = self._recorded()
        if not entry:
            return self.before
        recorded = self.record.backed_up(entry)
        if sha256(self.before) == entry["sha256_after"]:
            return recorded
        undone = self._undone(None, self.before, recorded)
        return recorded if undone is None else undone

    def _listens_before(self):
        """Those of the file as it is.  On the way back it need not be one that can be read."""
        try:
            return conf.listens(self.before)
        except EngineError:
            if self.state != "restored":
                raise
            return []

    def _undone(self, unused, now, before):
        return conf.moved_back(now, before, self.record.content["new_port"])

    def _recorded(self):
        """The entry of the record that goes back, or None where there is nothing to go back to."""
        content = self.record.content
        if content is None or content["state"] == "rolled_back":
            return None
        for entry in content["files"]:
            if self.host.real_path(entry["path"]) == self.edit.target:
                return entry
        raise RecordError("%s: holds nothing about %s; name the file that it was written for with path, or its own record"
                          % (self.record.path, self.path))

    def _watched(self):
        """The ports on which nginx has to listen, or not to, as the file says."""
        if self.state != "restored":
            return {parse_port(self.options["port"])}
        entry, content = self._recorded(), self.record.content
        if not entry:
            return set()
        return {listen.port for found in self.listens for listen in found} | {
            port for port in (content["old_port"], content["new_port"]) if port}

    # --- what is

    def _listeners(self, ports):
        found = self.host.listeners(ports, every_owner=True)
        if found is None:
            raise NginxEditError("this host has no /proc/net, so who listens on a port can't be told; nothing was changed")
        return [entry for entry in found if entry["protocol"] in self.protocols]

    def _find_nginx(self):
        """The process that serves this file, by the ports of it that are not in question; None when no process listens there."""
        ports = {listen.port for listen in self.listens[0]} - (
            self.watched if self.state != "restored" else {(self.record.content or self.record.move)["new_port"]})
        for asked in (ports, self.watched):
            found = self._may_serve(self._listeners(asked)) if asked else []
            if found:
                # Where it has lost one of its ports to another process, that one is found too.
                seen = sorted((entry for entry in found if entry["pid"] is not None),
                              key=lambda entry: entry["process"] != "nginx")
                if not seen:
                    raise NginxEditError("%s: who listens on port %d can't be seen by this user; run with become: true"
                                         % (self.path, found[0]["port"]))
                for pid in (pid for entry in seen for pid in entry["owners"]):
                    # A worker may have ended since.
                    master = master_of(pid)
                    if master is not None:
                        return master
            if asked and self.state != "restored":
                return None
        return None

    def _may_serve(self, entries):
        """Those whose address a listen of this file has; where it is about a port that the file does not have, any of them."""
        places = {}
        for listen in self.listens[0] + self.listens[1]:
            places.setdefault((listen.port, listen.protocol), set()).update(_bound_to(listen.host))
        anywhere = set().union(*places.values())
        return [entry for entry in entries if not {entry["address"], None}.isdisjoint(
            places.get((entry["port"], entry["protocol"]), anywhere))]

    def _is_ours(self, entry):
        return self.master is not None and any(master_of(pid) == self.master for pid in entry["owners"])

    def _has_worker(self, entry):
        return any(pid != self.master and master_of(pid) == self.master for pid in entry["owners"])

    def _lacking(self):
        """Sentences on what nginx does not do yet, or still does, by what the file is to say."""
        there = self._listeners(self.watched)
        found = [entry for entry in there if self._is_ours(entry)]
        serving = [entry for entry in found if self._has_worker(entry)] if self._shows_workers() else found
        # Looked at several times a second, and a server may have hundreds of addresses.
        sockets = {(entry["port"], entry["protocol"], address) for entry in serving for address in (entry["address"], None)}
        lacking = ["does not listen on %s" % listen.text.split()[0] for listen in self.listens[1]
                   if listen.port in self.watched and sockets.isdisjoint(
                       (listen.port, listen.protocol, address) for address in _bound_to(listen.host))]
        going = {entry["port"] for entry in found + self._left_behind(there)}
        return lacking + ["still listens on port %d" % port for port in sorted(
            going - {listen.port for listen in self.listens[1]} - self.elsewhere)]

    def _left_behind(self, entries):
        """The sockets of this file which an old worker has for a moment longer, unseen from here."""
        places = {(listen.port, listen.protocol, _address(listen.host)) for listen in self.listens[0]}
        return [entry for entry in entries if not entry["owners"]
                and (entry["port"], entry["protocol"], entry["address"]) in places]

    def _shows_workers(self):
        return self.master is not None and has_workers(self.master)

    def _wait(self, workers):
        """What is still lacking when the time is over.  `workers`: those of before the reload.

        While nginx still tries to have one port its master listens on the others, and drops them all when it gives up.  Its
        new workers come when it has them all, also where what they have open can't be seen.
        """
        since, now = None, time.monotonic()
        end = now + self.options["timeout"]
        while True:
            lacking, now = self._lacking(), time.monotonic()
            if not lacking:
                if self._shows_workers() or not any(listen.port in self.watched for listen in self.listens[1]):
                    return []
                there = workers_of(self.master)
                if there - workers:
                    return []
                if there:
                    lacking = ["has begun no worker with the new configuration"]
            if lacking:
                since = None
                if now > end:
                    return lacking
            else:
                since = now if since is None else since
                if now - since >= HELD:
                    return []
            time.sleep(LOOK_AGAIN)

    # --- what stands against it

    def _refuse(self, sentence, *values):
        raise NginxEditError("%s: %s; nothing was changed" % (self.path, sentence % values if values else sentence))

    def _require_nginx(self):
        if self.master is None:
            ports = sorted({listen.port for listen in self.listens[0]} - self.watched)
            self._refuse("no process listens on port %s, as it has it, so nginx does not run or has not read it. Start nginx, "
                         "or look into its error log", " or ".join(map(str, ports)) if ports else self.options["port"])

    def _require_free_port(self):
        port = self.options["port"]
        for entry in self._foreign():
            if self._is_in_the_way(entry):
                self._refuse_taken(entry)
        held = [entry for entry in self.host.outgoing(port) if self._is_in_the_way(dict(entry, protocol="tcp"))]
        if held:
            self._refuse("port %d is in use by a connection from here to %s (%s), so nginx could not have it now. Run again when "
                         "that has ended, and reserve the port", port, held[0]["remote"], _who(held[0]))

    def _foreign(self):
        """Who else listens on the port."""
        return [entry for entry in self._listeners({self.options["port"]}) if not self._is_ours(entry)]

    def _is_in_the_way(self, entry):
        wanted = (self.options["port"], entry["protocol"])
        return any((listen.port, listen.protocol) == wanted and _overlaps(entry["address"], listen) for listen in self.listens[1])

    def _refuse_taken(self, entry):
        port = self.options["port"]
        if self.after != self.before:
            self._refuse("port %d is taken by %s, so nginx could not have it. Choose another port, or stop that one",
                         port, _who(entry))
        # A run that was killed has put it there, or an administrator has.
        content = self.record.content if self.record else None
        noted = content and content["state"] != "rolled_back" and content["new_port"] == port and any(
            self.host.real_path(one["path"]) == self.edit.target for one in content["files"])
        raise NginxEditError(
            "%s: it has a listen on port %d already%s, nginx does not have it, and the port is taken by %s, so nginx could not "
            "get it; nothing was changed by this run. Stop that one and run again, or take the listen out with state=%s, since "
            "nginx would not start with it" % (
                self.path, port, ", by a run that did not come to its end" if noted else "", _who(entry),
                "restored" if noted else "absent"))

    def _require_no_copy_read(self, files):
        """Fails where nginx would read the copy that backup makes as well, as it does with include sites-enabled/*."""
        if not self.options.get("backup") or self.after == self.before:
            return
        folder, name = os.path.split(self.edit.target + OF_A_COPY)
        for pattern in sorted({one for content in (files or {}).values() for one in conf.includes(content)}):
            there, names = os.path.split(self.host.join(self.nginx.folder, pattern))
            if fnmatch.fnmatchcase(name, names) and folder in map(self.host.real_path, glob.glob(there)):
                self._refuse("backup would put a copy into %s, and nginx, which has include %s, would load that too. Leave "
                             "backup out; record keeps the old bytes elsewhere", folder, pattern)

    def _look_at_the_rest(self):
        """nginx's configuration as it is: sound, with this file in it, and who else in it has the port."""
        why, files = self.nginx.files()
        if why:
            self._refuse("nginx's configuration does not pass its test as it is (%s). Mend that first", why)
        if files is None:
            return None
        if self.edit.target not in files:
            self._refuse("it is none of the files that nginx reads (%s). Name the right one with path", ", ".join(sorted(files)))
        having = {path: conf.every_port(content) for path, content in files.items() if path != self.edit.target}
        self.elsewhere = self.elsewhere.union(*having.values())
        others = sorted(path for path in having if self.watched & having[path])
        self.others = others + self.others
        self._require_no_copy_read(files)
        return others

    def _require_only_this_file(self, others):
        """Which server answers on a port that another file has too is not for this file to say."""
        port = self.options["port"]
        if others:
            self._refuse("nginx has a listen on port %d in %s already, and which server would answer there could not be told any "
                         "more. Choose another port, or remove that listen", port, ", ".join(others))
        if others is None and any(self._is_ours(entry) for entry in self._listeners({port})):
            self._refuse("nginx listens on port %d already, so another file of its configuration has it. Choose another port",
                         port)

    def _require_no_users(self, port, others):
        """Fails where a client is connected to a port that ends: it would come back there soon, and find no server."""
        seen, end = set(), time.monotonic() + self.options["users_seconds"]
        while True:
            seen.update(clients(port))
            if time.monotonic() > end:
                break
            time.sleep(LOOK_FOR_USERS)
        if not seen:
            return
        counted = Counter(address for address, unused in seen)
        users = [dict(address=address, connections=count)
                 for address, count in sorted(counted.items(), key=lambda found: (-found[1], found[0]))]
        told = ["%s (%d connection%s)" % (user["address"], user["connections"], "" if user["connections"] == 1 else "s")
                for user in users[:NAMED]] + (["%d more" % (len(users) - NAMED)] if len(users) > NAMED else [])
        shared = (" %s has a listen on it too, and its users can't be told from these." % ", ".join(others)
                  if others else "")
        raise PortInUse(
            "%s: port %d is still used by %s, who would lose it; nothing was changed.%s Lead them to the port that stays, "
            "and run again; a connection that was left open ends by itself after nginx's keepalive_timeout (75 s as it comes)" % (
                self.path, port, ", ".join(told), shared), users)

    # --- doing it

    def outcome(self):
        self.master = self._find_nginx()
        return self._restored() if self.state == "restored" else self._changed()

    def _result(self, done, changed):
        ports = {listen.port for listen in self.listens[1]} | self.watched
        who = [dict(port=entry["port"], address=entry["address"], process=entry["process"], pid=entry["pid"])
               for entry in self._listeners(ports)]
        elsewhere = self.others + ([] if self.state == "restored" else sorted(
            {"%s on %s" % (_who(entry), entry["address"]) for entry in self._foreign()}))
        shown = dict(zip(("before", "after"), ([listen.text for listen in found] for found in self.listens)))
        numbers = dict(zip(("before", "after"), (sorted({listen.port for listen in found}) for found in self.listens)))
        return dict(done, changed=changed, path=self.path, listens=shown, ports=numbers, reloaded=self.reloaded,
                    server_names=conf.server_names(self.after, self.options["port"]),
                    elsewhere=elsewhere, lacking=self.lacking, restored=done.get("restored", []),
                    listening_by=sorted(who, key=lambda entry: (entry["port"], entry["address"])))

    def _changed(self):
        self.edit.apply(self.after)
        self.lacking = self._lacking() if self.master else []
        if self.after == self.before and not self.lacking and (self.master or self.state == "absent"):
            return self._result(self.edit.commit(self.module, redact=conf.shown), False)
        self._require_nginx()
        if self.state == "present":
            self._require_free_port()
        others = self._look_at_the_rest()
        if self.state == "present" and self.after != self.before:
            self._require_only_this_file(others)
        self.lacking = self._lacking()
        changed = self.after != self.before or bool(self.lacking)
        if self.state == "absent" and changed and self.options["users_seconds"] > 0:
            self._require_no_users(self.options["port"], self.others)
        result = self.edit.commit(self.module, redact=conf.shown, record=self.record, kind=conf.KIND)
        if changed and not self.module.check_mode:
            self._bring_into_force()
        return self._result(result, changed)

    def _bring_into_force(self):
        why = self.nginx.test()
        if why:
            raise NginxEditError("%s: nginx does not take it with this change (%s); %s, and nginx was not reloaded"
                                 % (self.path, why, self._put_back()))
        why = self._reload()
        if why is None:
            return
        raise NginxEditError("%s: %s; %s%s" % (self.path, why, self._put_back(), self._reload_again()))

    def _reload(self):
        """None when nginx is as the file says, else a sentence."""
        workers = workers_of(self.master)
        why = self.nginx.reload()
        if why:
            return "nginx could not be told to read it again (%s)" % why
        self.reloaded = True
        lacking = self._wait(workers)
        if not lacking:
            return None
        taken = [_who(entry) for entry in self._listeners(self.watched) if not self._is_ours(entry)]
        return "nginx was reloaded, and %g s later it %s%s; its error log says why" % (
            self.options["timeout"], " and ".join(lacking), ", where there is now %s" % taken[0] if taken else "")

    def _put_back(self):
        """The bytes that were there before this run.  Returns what to say of it."""
        if self.after == self.before:
            return "the file is as it was, since it had this change in it already"
        if not self._write_back(self.after, self.record):
            return SAVED_SINCE
        if self.record and not self.record.review()[0]:
            self._settle_record()
        return "the file is as it was before, byte for byte"

    def _write_back(self, written, record=None):
        """Puts the old bytes in the place of `written`.  Whether they are there: what others have saved since stays."""
        edit = self.host.edit(self.path)
        if edit.before not in (written, self.before):
            self.saved_since = True
            return False
        edit.apply(self.before).commit(BoundedModule(COMMAND_TIME), record=record, kind=conf.KIND)
        return True

    def _settle_record(self):
        """Nothing of this migration is left, so the one before it, if there was one, is the last again, with its way back."""
        before = self.record_before
        if before is None or (before["new_port"] == self.record.content["new_port"] and before["state"] != "rolled_back"):
            self.record.mark_rolled_back()
        else:
            self.record.put_content(before)

    def _reload_again(self):
        if self.saved_since:
            return ", and nginx was not reloaded again"
        if not self.reloaded or self.after == self.before:
            return ""
        why = self.nginx.reload()
        return ", but reloading nginx with that failed (%s)" % why if why else ", and nginx was reloaded with that"

    def _require_no_users_of_the_new_port(self):
        """On the way back it is the new port that ends, unless nginx never came to have it, or the file had it before."""
        port = self.record.content["new_port"]
        if self.options["users_seconds"] <= 0 or any(listen.port == port for listen in self.listens[1]) or not any(
                self._is_ours(entry) for entry in self._listeners({port})):
            return
        files = self.nginx.files()[1] or {}
        self._require_no_users(port, sorted(
            path for path, content in files.items()
            if port in (conf.other_ports if path == self.edit.target else conf.every_port)(content)))

    def _restored(self):
        if not self.watched:
            return self._result(dict(changed=False), False)
        if self.options.get("backup"):
            self._require_no_copy_read(self.nginx.files()[1])
        self._require_no_users_of_the_new_port()
        done = self.record.restore_files(self.module, lambda *unused, ports: conf.shown, force=self.options["force"],
                                         undo=self._undone)
        if self.module.check_mode:
            return self._result(done, True)
        written = self.host.edit(self.path).before
        why, files = self.nginx.files()
        if why:
            rest = "it is again as it was found" if self._write_back(written) else SAVED_SINCE
            raise NginxEditError("%s: nginx does not take it as it was before the migration (%s); %s, and nginx was not reloaded"
                                 % (self.path, why, rest))
        for path, content in (files or {}).items():
            if path != self.edit.target:
                self.elsewhere |= conf.every_port(content)
        if self.master is None:
            self.warnings.append("%s: no process listens on its ports, so nginx does not run; it was not reloaded. Start it"
                                 % self.path)
        elif done["changed"] or self._lacking():
            why = self._reload()
            if why:
                # The bytes are right, and going back goes on with the next call.
                raise NginxEditError("%s: it is as it was before the migration, but %s" % (self.path, why))
        self.record.mark_rolled_back()
        return self._result(done, True)


def set_listen(module, options):
    """Brings the file's listens to what `options` ask for, and nginx with them.  Returns the module's result."""
    take_back_interrupted([options["path"]], module.check_mode)
    with contextlib.ExitStack() as held:
        if options["record"]:
            held.enter_context(alone_on_host(options["record"]["path"], module.check_mode,
                                             may_be_first=options["state"] != "restored"))
        edit = ListenEdit(module, options)
        result = edit.outcome()
    for warning in edit.warnings:
        module.warn(warning)
    return result
