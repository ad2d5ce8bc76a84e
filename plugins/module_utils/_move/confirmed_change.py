# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's side of a change that undoes itself unless it is confirmed: begins it, confirms it, takes it back, looks.

What is asked for is handed over to a process that outlives every connection: a unit of systemd, or where there is none a
process of its own.  It runs this collection's own code, which is packed up beside the change: the folder that Ansible
unpacked is gone soon.
"""

import contextlib
import io
import os
import subprocess
import sys
import time
import uuid
import zipfile

from ansible_collections.portshift.agents.plugins.module_utils._core.bounded_commands import (
    SEARCH_PATH, BoundedModule, find, told)
from ansible_collections.portshift.agents.plugins.module_utils._bridge.rules import FLUSHING
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import (
    PATIENCE_WITH_PROOF, ChangeRecord, RecordError, alone_on_host, why_it_stays)
from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_state import (
    NAME, Place, boot_clock, check_paths, edits, take_back_interrupted_edits, this_login, turn, words)
from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_unit import PAUSES, RUNTIME_UNITS, unit_name
from ansible_collections.portshift.agents.plugins.module_utils._move.states import (
    BEGUN, CHANGING, CONFIRMED, ENDED, FAILED, REVERTED, REVERTING, STATE, WAITING, ChangeError, too_short)
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import longest, proof
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import (
    FileError, make_folder, one_at_a_time, put_file, read_own, remove_empty_folder, remove_file)
from ansible_collections.portshift.agents.plugins.module_utils._core.host_commands import TOOL_SECONDS, run
from ansible_collections.portshift.agents.plugins.module_utils._core.service_processes import this_boot

PACKAGE = "ansible_collections.portshift.agents.plugins.module_utils"
PROGRAM = """import os
import sys
import {imported}
from {package}._core.evidence import Proofs
from {package}._core.file_kinds import FileKinds
from {package}._move import confirmed_unit
sys.exit(confirmed_unit.main(
    FileKinds({kinds}), Proofs({proofs}), os.path.dirname(os.path.abspath(sys.argv[0])), {minded!r}))
"""
# Seconds between two looks at what the unit has written.
LOOK_AGAIN = 0.1
# Seconds without the process that carries a change out, until it counts as dead; systemd begins it again in less.
PATIENCE_WITH_UNIT = 20
# How many times as long a unit is waited for that systemd says to run and that has not begun with the change.
SLOW_STARTS = 5
PATIENCE_WITH_RESTART = 3
# Seconds for the unit to tidy up behind itself.
PATIENCE_WITH_END = 60
PUT_BACK = "Its files are as they were before, byte for byte, and the product was started with them"
ON_REQUEST = "it was taken back on request"
WHAT_TO_DO = "confirm it (state: confirmed), or take it back (state: reverted)"

UNIT_TEXT = """# Made by portshift.agents.confirmed_change; it goes away when the change is confirmed or undone.
[Unit]
Description=Change %(name)s of portshift.agents: undone unless it is confirmed
After=firewalld.service ufw.service %(after)s
RequiresMountsFor=%(folder)s

[Service]
Type=simple
ExecStart=%(command)s
# Killed amid a change, it goes on with undoing it.
Restart=on-failure
RestartSec=2
# However often: in this section and by this name old and new systemd alike understand it.
StartLimitInterval=0
# The product that it starts must not end with it.
KillMode=process
TimeoutStopSec=%(seconds)d

[Install]
WantedBy=multi-user.target
"""


def _quoted(word):
    """As a unit file wants a path that may hold anything."""
    return '"%s"' % word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")


def program(kinds, proofs, minded):
    """The bytes of a zip archive that Python runs: confirmed_unit, with the modules of this collection that are loaded."""
    sources = {"__main__.py": PROGRAM.format(
        package=PACKAGE, imported=", ".join(kinds.modules + proofs.modules), kinds=", ".join(kinds.modules),
        proofs=", ".join(proofs.modules), minded=minded)}
    folders = PACKAGE.split(".")
    for depth in range(len(folders)):
        sources["/".join(folders[:depth + 1]) + "/__init__.py"] = ""
    for name in sorted(sys.modules):
        if name.startswith(PACKAGE + "."):
            loader = sys.modules[name].__spec__.loader
            source = loader.get_source(name)
            # Ansible's own loader gives bytes, as none should.
            inside = "/__init__.py" if hasattr(sys.modules[name], "__path__") else ".py"
            sources[name.replace(".", "/") + inside] = source.decode("utf-8") if isinstance(source, bytes) else source
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for path in sorted(sources):
            # A time of its own for each file would be the host's clock, which may be anything.
            target.writestr(zipfile.ZipInfo(path), sources[path].encode("utf-8"))
    return archive.getvalue()


class ReadOnlyModule(BoundedModule):
    """A module that only looks, whatever the task does: for the plan, before anything is handed over."""

    check_mode = True

    def __init__(self, module):
        super().__init__(TOOL_SECONDS)
        self._diff, self.get_bin_path, self.warn = module._diff, module.get_bin_path, module.warn


class ConfirmedChange:
    """The change that the parameters of the module name.

    `kinds`: the FileKinds of what it may edit.  `proofs`: the Proofs that it may ask for.
    """

    def __init__(self, kinds, proofs, module):
        self.kinds, self.proofs, self.module, self.params = kinds, proofs, module, module.params
        self._options = [kind.option for kind in kinds.with_option]
        self._proof, self._proof_options = proofs.asked(module.params)
        name = self.params["name"]
        if not NAME.match(name):
            raise ChangeError("the change's name is %r; give 1 to 20 characters a-z, 0-9 and _, a letter first" % name)
        self.place = Place(self.params["state_dir"], name)
        self.systemd = os.path.isdir("/run/systemd/system") and bool(module.get_bin_path("systemctl"))
        self.diffs = []

    # -- looking

    def look(self):
        """What becomes of the change, for the module's result."""
        state = self.place.state()
        if state is None:
            return self._nothing()
        left = None
        if state["state"] == WAITING:
            left = max(0, int(state["until"] - boot_clock())) if state["boot"] == this_boot() else 0
        found = dict(state=CHANGING if state["state"] == BEGUN else state["state"], seconds_left=left, **_proof_of(state))
        return dict(found, **{key: state[key] for key in (
            "reason", "files", "restored", "notes", "bridge", "seconds", "survives_reboot", "old_port", "new_port")})

    def _nothing(self):
        return dict(state="none", seconds_left=None, reason=None, files=[], restored=[], notes=[], bridge=None, seconds=0,
                    survives_reboot=self.systemd, old_port=None, new_port=None)

    def present(self):
        end = time.monotonic() + self.params["wait"]
        while time.monotonic() < end:
            state = self.place.state()
            # One that no process carries on has no end that could be waited for.
            if state is None or self._is_over(state) or state["state"] in ENDED or not self._is_carried_out_soon(state):
                break
            time.sleep(LOOK_AGAIN)
        return dict(self.look(), changed=False)

    def look_again(self):
        """The same beside a sentence on what failed."""
        try:
            return self.look()
        except EngineError:
            # The sentence has said that already.
            return {}

    def _under_way(self):
        """A sentence when there is a change that has not come to its end, or None."""
        state = self.place.state()
        if state is None or self._is_over(state):
            return None
        what = "the change %s, begun at %s," % (self.place.name, _moment(state["begun"]))
        if state["state"] == FAILED:
            return "%s could not be undone: %s. Mend that, then undo it with state: reverted" % (what, state["reason"])
        if not self._is_carried_out_soon(state):
            state = self.place.state()
            if state is None or self._is_over(state) or state["state"] == BEGUN:
                # It has ended just now, or was handed over and no process ever took it: nothing was touched then.
                return None
            return ("%s was never confirmed, and the process that would undo it has ended; take it back (state: reverted), then "
                    "begin again" % what)
        if state["state"] == WAITING and state["boot"] == this_boot():
            return "%s still waits for its confirmation: %s, or wait %d more seconds until it undoes itself" % (
                what, WHAT_TO_DO, self.look()["seconds_left"] or 0)
        return "%s is still under way (%s): wait until it has ended, then look again" % (what, self.look()["state"])

    def _is_over(self, state):
        """Whether nothing is left to be done for the change; waits for its process to tidy up behind itself."""
        if state["state"] not in (CONFIRMED, REVERTED):
            return False
        end = time.monotonic() + PATIENCE_WITH_END
        while self.place.is_carried_out() and time.monotonic() < end:
            time.sleep(LOOK_AGAIN)
        return True

    def _is_carried_out_soon(self, state):
        """Whether the process that carries the change out lives, or is begun again by the process that minds it."""
        just_now = state["state"] == BEGUN and state["boot"] == this_boot() and (
            boot_clock() - state["handed_over"] < PATIENCE_WITH_UNIT)
        patience = PATIENCE_WITH_UNIT if just_now or self._unit_is() != "inactive" else PATIENCE_WITH_RESTART
        begun = time.monotonic()
        while not self.place.is_carried_out():
            # What was handed over is its run's to give up, as long as that one lives.
            followed = state["state"] == BEGUN and self.place.is_followed()
            if time.monotonic() - begun > (PATIENCE_WITH_PROOF if followed else patience):
                return False
            now = self.place.state()
            if now is None or now["state"] in ENDED:
                return False
            time.sleep(LOOK_AGAIN)
        return True

    def _unit_is(self):
        """What systemd says of the unit: "inactive" when it neither runs nor is about to."""
        if not self.systemd:
            return "inactive"
        said = run(self.module, ["systemctl", "is-active", unit_name(self.place.name)])[1].strip()
        return said if said in ("active", "activating", "reloading", "deactivating") else "inactive"

    # -- begin

    def begin(self):
        for option in ("record", "new_port"):
            if self.params[option] is None:
                raise ChangeError("state: begun needs %s; nothing was changed" % option)
        self._refuse_beside_another()
        wanted, token = self._wanted(), None
        with contextlib.ExitStack() as held:
            with alone_on_host(wanted["record"], self.module.check_mode, patience=PATIENCE_WITH_PROOF):
                self._refuse_beside_another()
                if not self.module.check_mode:
                    take_back_interrupted_edits(self.kinds, wanted)
                wanted = self._with_plan(wanted)
                proved = self._proved_beforehand(wanted) if self._proof else {}
                if wanted["plan"] and not self.module.check_mode:
                    held.callback(remove_empty_folder, self.place.folder)
                    held.enter_context(one_at_a_time(
                        self.place.caller, PATIENCE_WITH_END, "another run that hands this change over"))
                    token = self._hand_over(wanted, wanted["plan"])
            if token:
                return self._result_of(self._follow((WAITING,) + ENDED, self._longest(wanted), token))
        if proved and not proved["ok"]:
            self._fail_unproved(proved)
        return dict(dict(self._nothing(), changed=bool(wanted["plan"]), files=wanted["plan"], token=None,
                         old_port=wanted["old_port"], new_port=wanted["new_port"]), **proved)

    def _result_of(self, state):
        """The result of a change that was begun."""
        if state["state"] not in (WAITING, CONFIRMED):
            raise ChangeError(_of_what_was_undone(state), _proof_of(state))
        if not state["survives_reboot"]:
            self.module.warn("systemd does not run on this host: should it boot, or the process that waits for the confirmation "
                             "be ended, nothing undoes the change by itself")
        for sentence in state["notes"]:
            self.module.warn(sentence)
        return dict(self.look(), changed=True, token=state["token"])

    # -- the proof

    def _questions(self, wanted):
        questions = self._proof.evidence(self._proof_options, wanted["new_port"], wanted["record"])
        # In check mode another change may be under way.
        questions.alone = not self.module.check_mode
        return questions

    def _proved_beforehand(self, wanted):
        """The proof of a host with nothing to change, or in check mode what a change would prove; {} before a change."""
        if not wanted["plan"]:
            return self._prove_without_a_change(wanted)
        self._require_provable(wanted)
        # Nothing has moved that could be proved; that the host would move is what there is to say.
        return dict(ok=True, predicted=True, port=wanted["new_port"]) if self.module.check_mode else {}

    def _require_provable(self, wanted):
        """Refuses, with the product still running, what could not be proved in its time, or would not be."""
        sentence = too_short(wanted["timeout"], self._proof_options)
        if sentence:
            raise ChangeError("nothing was changed: %s (options timeout, and timeout and settle of %s)" % (
                sentence, self._proof.option))
        try:
            questions = self._questions(wanted)
            if not self.module.check_mode:
                questions.check_again()
        except EngineError as err:
            raise ChangeError("nothing was changed: %s" % err)

    def _prove_without_a_change(self, wanted):
        """The proof of a host whose files hold already what they have to."""
        try:
            questions = self._questions(wanted)
            found = proof(questions, self._proof_options["timeout"])
            marked = found["ok"] and questions.is_to_be_marked()
            if marked and not self.module.check_mode:
                questions.record.mark_verified(alone=True)
            return dict(found, changed=marked)
        except EngineError as err:
            return dict(ok=False, port=wanted["new_port"], missing={}, msg=str(err))

    def _fail_unproved(self, found):
        """A move that an earlier run has not brought to its end is taken back without its proof; else the host is left."""
        why, port, content = found.pop("msg"), found["port"], ChangeRecord(self.params["record"]).content
        if self.module.check_mode:
            raise ChangeError(why, found)
        if not content or content["state"] != "changing" or content["new_port"] != port:
            raise ChangeError("%s. %s" % (why, why_it_stays(content, port)), found)
        try:
            self._take_back(why)
        except EngineError as err:
            raise ChangeError("%s. Putting the host back did not work out either: %s" % (why, err), found)
        raise ChangeError("%s. %s" % (why, PUT_BACK), found)

    def _refuse_beside_another(self):
        sentence = self._under_way()
        if sentence:
            raise ChangeError("%s; nothing was changed" % sentence)

    def _wanted(self):
        params = self.params
        wanted = {key: params[key] for key in (
            "timeout", "record", "old_port", "new_port", "phase", "stop", "start", "services", "executables", "checks",
            "check_seconds", "command_seconds", "files", "bridge", "unit_dir", "force", *self._options)}
        if self._proof:
            wanted[self._proof.option] = self._proof_options
        self._require_commands()
        check_paths(self.kinds, wanted)
        return dict(wanted, way="forward", systemd=self.systemd, login=this_login())

    def _require_commands(self):
        for what in ("stop", "start", "checks"):
            for command in self.params[what]:
                if "\0" in words(command):
                    raise ChangeError("%s names the command %r, and no word of a command can hold a NUL; nothing was changed"
                                      % (what, words(command)))
                if not command or not find(command[0]):
                    raise ChangeError("%s names the command %r, which is not on this host; give a list of words, the command by "
                                      "its path; nothing was changed" % (what, words(command)))

    def _with_plan(self, wanted):
        """`wanted`, with what is there before it, and the paths of the files that it would change."""
        looking, plan, modes = ReadOnlyModule(self.module), [], {}
        for make in edits(self.kinds, wanted):
            edit = make()
            for warning in edit.warnings:
                self.module.warn(warning)
            done = edit.commit(looking)
            self.diffs += [done["diff"]] if "diff" in done else []
            if done["changed"]:
                plan += [edit.path] if edit.path not in plan else []
                if edit.file.before is not None:
                    modes[edit.file.target] = os.stat(edit.file.target).st_mode & 0o7777
        if plan and wanted["bridge"]:
            # What can't be is refused now, with the product still running.
            turn(looking, wanted["bridge"], True)
        record = ChangeRecord(wanted["record"])
        # Also one of a move to another port: undone, this change leaves that one to be taken back.
        goes_on = record.content and record.content["state"] != "rolled_back"
        before = read_own(wanted["record"]).decode("utf-8") if goes_on else None
        return dict(wanted, plan=plan, modes=modes, record_before=before)

    def _hand_over(self, wanted, paths, **state):
        """Leaves all of it to a process of its own.  Returns the change's token.  `paths`: the files that may be restored."""
        state = dict(dict(
            state=BEGUN, token=uuid.uuid4().hex, boot=this_boot(), begun=time.time(), handed_over=boot_clock(), until=None,
            reason=None, files=[], restored=[], notes=[], bridge=None, bridge_turned=False, seconds=0, ended=None,
            survives_reboot=self.systemd, old_port=wanted["old_port"], new_port=wanted["new_port"]), **state)
        self._await_end_of_unit()
        self._clear()
        try:
            self.place.write("change.json", wanted)
            self.place.hold_reserve(paths)
            self.place.write(STATE, state)
            self._launch()
        except EngineError:
            self._take_back_launch()
            raise
        return state["token"]

    def _await_end_of_unit(self):
        """The process of the change before has ended, but systemd may not have seen that yet, and would begin no other."""
        if not self.systemd:
            return
        end = time.monotonic() + PATIENCE_WITH_UNIT
        while self._unit_is() != "inactive":
            if time.monotonic() > end:
                return
            time.sleep(LOOK_AGAIN)
        # Several changes in a short time are not a unit that crashes.
        run(self.module, ["systemctl", "reset-failed", unit_name(self.place.name)])
        if remove_file(os.path.join(RUNTIME_UNITS, unit_name(self.place.name)), False):
            run(self.module, ["systemctl", "daemon-reload"])

    def _clear(self):
        make_folder(self.place.folder)
        # The state first: without it there is no change.
        self.place.remove(STATE, "confirm.json", "revert.json", "reserve")
        self.place.forget_old_bytes()

    def _launch(self):
        """Begins the process that carries on what the folder holds."""
        if not sys.executable:
            raise ChangeError("Python does not say where it lies (sys.executable is empty), so no process can be left that "
                              "runs it; set ansible_python_interpreter; nothing was changed")
        archive = self.place.path("run.zip")
        put_file(archive, program(self.kinds, self.proofs, self.systemd), False)
        if self.systemd:
            self._launch_unit(archive)
        else:
            # A session of its own, and nothing of the caller's: the process that began this waits for the end of what it reads.
            # pylint: disable-next=ansible-bad-function
            subprocess.Popen([sys.executable, "-I", archive], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, close_fds=True, cwd="/", start_new_session=True,
                             env=dict(PATH=SEARCH_PATH, LANG=os.environ.get("LANG", "C"), HOME=os.environ.get("HOME", "/")))

    def _launch_unit(self, archive):
        # As the change says: a call that begins its process again need not repeat all of it.
        change, name = self.place.change(), unit_name(self.place.name)
        bridge = change["bridge"]
        after = FLUSHING + (" portshift-bridge-%s.service" % bridge["name"] if bridge else "")
        text = UNIT_TEXT % dict(name=self.place.name, after=after, folder=_quoted(self.place.folder), seconds=300,
                                command=" ".join(map(_quoted, [sys.executable, "-I", archive])))
        put_file(os.path.join(change["unit_dir"], name), text.encode("utf-8"), False, mode=0o644)
        # A unit that has failed too often, as one of an earlier version may have; there may be nothing to reset.
        run(self.module, ["systemctl", "reset-failed", name])
        # Enabled first: a host that boots from now on goes on with it.
        for arguments in (["daemon-reload"], ["enable", name], ["start", "--no-block", name]):
            code, out, err = run(self.module, ["systemctl"] + arguments)
            if code:
                raise ChangeError("systemctl %s failed%s; nothing was changed" % (words(arguments), told(out + "\n" + err)))

    def _take_back_launch(self):
        self.place.remove(STATE, "reserve", "run.zip", "change.json")
        if self.systemd:
            name = unit_name(self.place.name)
            # A start that has not come about yet is not to come about later.
            run(self.module, ["systemctl", "stop", "--no-block", name])
            run(self.module, ["systemctl", "disable", name])
            if remove_file(os.path.join(self.params["unit_dir"], name), False):
                run(self.module, ["systemctl", "daemon-reload"])
        remove_empty_folder(self.place.folder)

    # -- following

    def _longest(self, change):
        """Seconds after which the process must have come to an end, or to its wait; it is bound in all that it does."""
        # Two more each time for processes that are waited for.
        attempt = (len(change["stop"]) + len(change["start"]) + 10) * change["command_seconds"]
        asked, options = self.proofs.asked(change)
        return PATIENCE_WITH_PROOF + 2 * attempt + change["check_seconds"] + (longest(options) if asked else 0) + sum(
            PAUSES) + PATIENCE_WITH_UNIT

    def _follow(self, until, seconds, token):
        """Waits until the change has come to one of the states `until`.  Returns the state."""
        end, missing_since, ended_at, slow = time.monotonic() + seconds, None, None, 0
        while True:
            # In this order: a process that ends between the two looks has written its last word before.
            lives, state = self.place.is_carried_out(), self.place.state()
            if state is None or state["token"] != token:
                raise ChangeError("the change %s is no longer there: another run has begun another one; look with state: present"
                                  % self.place.name)
            now = time.monotonic()
            if state["state"] in until:
                ended_at = ended_at or now
                if state["state"] not in ENDED:
                    return state
                if not lives or now - ended_at > PATIENCE_WITH_END:
                    self._await_end_of_unit()
                    return state
            elif lives:
                missing_since = None
            elif missing_since is None:
                missing_since = now
            elif now - missing_since > PATIENCE_WITH_UNIT and (
                    state["state"] != BEGUN or slow < SLOW_STARTS) and self._unit_is() != "inactive":
                # Not dead but slow: systemd runs it, and on a machine that has much to do it has not come to its work yet.
                missing_since, slow = None, slow + 1
            elif now - missing_since > PATIENCE_WITH_UNIT and state["state"] == BEGUN:
                if self._give_up_start():
                    raise ChangeError("the process that would make the change did not start in %d s; nothing was changed%s"
                                      % (PATIENCE_WITH_UNIT * (slow + 1), self._where_to_look()))
                missing_since = None
            elif now - missing_since > PATIENCE_WITH_UNIT:
                raise ChangeError("the process that carries the change %s out has ended amid it (%s) and was not begun again; "
                                  "take the change back with state: reverted%s"
                                  % (self.place.name, state["state"], self._where_to_look()))
            if now > end:
                raise ChangeError("the change %s is still %s after %d s; it goes on by itself%s" % (
                    self.place.name, state["state"], seconds, self._where_to_look()))
            time.sleep(LOOK_AGAIN)

    def _give_up_start(self):
        """Whether what was handed over could be taken back before the process came to it."""
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(one_at_a_time(self.place.lock, 0, "the process that makes the change"))
            except FileError:
                return False
            state = self.place.state()
            if state is None or state["state"] != BEGUN:
                return False
            self._take_back_launch()
        remove_empty_folder(self.place.folder)
        return True

    def _where_to_look(self):
        return "; see journalctl -u %s" % unit_name(self.place.name) if self.systemd else ""

    def _ensure_carried_out(self, state):
        """Begins the process again where it was killed and no unit does so."""
        if state["state"] not in ENDED and not self._is_carried_out_soon(state) and self.place.state():
            self._launch()

    # -- confirm

    def confirm(self):
        state, token = self.place.state(), self.params["token"]
        if state is None:
            if self.module.check_mode:
                # Check mode began none.
                return dict(self.look(), changed=False, token=token)
            raise ChangeError("no change %s is known on this host, so there is nothing to confirm; begin one with state: begun"
                              % self.place.name)
        if not token and not self.module.check_mode:
            raise ChangeError("state: confirmed needs the token that state: begun returned")
        if token and token != state["token"]:
            raise ChangeError("the token is that of another change than the one begun at %s, which is %s; nothing was confirmed"
                              % (_moment(state["begun"]), self.look()["state"]))
        if state["state"] == CONFIRMED:
            return dict(self.look(), changed=False, token=token)
        if state["state"] in (REVERTING, REVERTED, FAILED):
            if state["state"] == REVERTING and not self.module.check_mode:
                # What became of the host is what there is to say.
                state = self._follow(ENDED, self._longest(self.place.change()), token)
            raise ChangeError("too late to confirm: %s" % _of_what_was_undone(state))
        if not self.module.check_mode:
            self._refuse_same_login(self.place.change())
            self.place.write("confirm.json", dict(token=token, login=this_login(), at=time.time()))
            self._ensure_carried_out(state)
            change = self.place.change()
            ended = self._follow(ENDED + (REVERTING,), change["timeout"] + PATIENCE_WITH_END, token)
            if ended["state"] != CONFIRMED:
                ended = self._follow(ENDED, self._longest(change), token)
                raise ChangeError("too late to confirm: %s" % _of_what_was_undone(ended))
        self.diffs = [_told_as_diff(WAITING, CONFIRMED)]
        return dict(self.look(), changed=True, token=token)

    @staticmethod
    def _refuse_same_login(change):
        here = this_login()
        if here and here == change["login"]:
            raise ChangeError("the confirmation comes by the very login that began the change (%s), which proves nothing about "
                              "new ones; reset the connection (meta: reset_connection) and confirm again; nothing was confirmed"
                              % here)

    # -- back

    def revert(self):
        if self._under_way():
            return self._undo(self.place.state())
        return self._take_back()

    def _undo(self, state):
        """Has a change undone that was not confirmed."""
        foreseen = self._foreseen()
        if self.module.check_mode:
            return dict(self.look(), changed=True, restored=foreseen, token=state["token"])
        if state["state"] == FAILED or (state["state"] == REVERTING and not self._is_carried_out_soon(state)):
            self._begin_way_back_again()
        else:
            self.place.write("revert.json", dict(token=state["token"], reason=ON_REQUEST))
            self._ensure_carried_out(state)
        ended = self._follow(ENDED, self._longest(self.place.change()) + PATIENCE_WITH_END, state["token"])
        if ended["state"] == CONFIRMED:
            # Another run was faster, so there is a confirmed change to be taken back.
            return self._take_back()
        return self._end_of_way_back(ended)

    def _begin_way_back_again(self):
        """What this call says of the product counts from now on: what was known of it may be why there was no way back."""
        self._require_commands()
        given = {key: self.params[key] for key in ("stop", "start", "services", "executables", "bridge") if self.params[key]}
        if "bridge" in given:
            turn(ReadOnlyModule(self.module), given["bridge"], False)
        # No process carries the change out meanwhile, not even its own that is at its end.
        with one_at_a_time(self.place.lock, PATIENCE_WITH_END, "the process that carries this change out"):
            change, state = self.place.change(), self.place.state()
            if state is None or change is None or state["state"] not in (FAILED, REVERTING):
                return
            self.place.write("change.json", dict(change, force=change["force"] or self.params["force"], **given))
            self.place.write(STATE, dict(
                state, state=REVERTING, notes=[], reason=state.get("because") or state["reason"]))
        self._await_end_of_unit()
        self._launch()

    def _foreseen(self):
        """The files that undoing the change would restore; takes the diff along."""
        try:
            result = ChangeRecord(self.place.undo).restore_files(
                ReadOnlyModule(self.module), force=True, redactor=self.kinds.redactor)
        except EngineError:
            # Such as a file that is gone: undoing a change can do more than a record alone.
            return []
        self.diffs = result["diff"]
        return result["restored"]

    def _end_of_way_back(self, state):
        for sentence in state["notes"]:
            self.module.warn(sentence)
        if state["state"] != REVERTED:
            raise ChangeError(state["reason"])
        return dict(self.look(), changed=True, token=state["token"])

    def _take_back(self, reason=ON_REQUEST):
        """Takes a confirmed change back, by the record of the migration."""
        known, state = self.place.change(), self.place.state()
        path = self.params["record"] or (known and known["record"])
        if path is None:
            return dict(self.look(), changed=False, token=None)
        if known and os.path.realpath(known["record"]) != os.path.realpath(path):
            # Another product's, or another estate's.
            known = None
        with alone_on_host(path, self.module.check_mode, may_be_first=False, patience=PATIENCE_WITH_PROOF):
            self._refuse_beside_another()
            record = ChangeRecord(path)
            move = record.content
            if not move or move["state"] == "rolled_back" or self.params["new_port"] not in (None, move["new_port"]):
                # Another port: an earlier migration's record, so the one that is taken back has not reached this host.
                return dict(self.look(), changed=False, restored=[], token=state and state["token"])
            record.take_back_interrupted(self.module.check_mode)
            undo = self.kinds.undo(move["new_port"])
            unsafe = record.review(undo)[1]
            if unsafe and not self.params["force"]:
                raise RecordError("going back is no longer safe, nothing was changed: %s" % "; ".join(unsafe))
            if known is None and not self.params["start"]:
                raise ChangeError("how this product is started is not known on this host; give stop, start and bridge; nothing "
                                  "was changed")
            result = record.restore_files(
                ReadOnlyModule(self.module), force=self.params["force"], undo=undo, redactor=self.kinds.redactor)
            self.diffs = result["diff"]
            if self.module.check_mode:
                return dict(self.look(), changed=True, state=REVERTED, restored=result["restored"], token=None,
                            old_port=move["old_port"], new_port=move["new_port"])
            # What a way back that failed left down is to run after this one.
            ran = state.get("ran", []) if known and state and state["state"] in (FAILED, REVERTING) else []
            token = self._hand_over_way_back(path, move, known or {}, ran, reason)
        return self._end_of_way_back(self._follow(ENDED, self._longest(self.place.change()) + PATIENCE_WITH_END, token))

    def _hand_over_way_back(self, path, move, known, ran, reason):
        wanted = dict(self._wanted(), record=path, old_port=move["old_port"], new_port=move["new_port"], way="back",
                      files=[], checks=[], record_before=None, modes={}, plan=[], **dict.fromkeys(self._options, []))
        for key in ("stop", "start", "services", "executables", "bridge"):
            # What this call does not say is as it was when the change began.
            wanted[key] = wanted[key] or known.get(key, wanted[key])
        return self._hand_over(wanted, [entry["path"] for entry in move["files"]], state=REVERTING,
                               reason=reason, bridge_turned=True, ran=ran)


def _proof_of(state):
    """What the host has proved, for the module's result: all is proved when a new login has confirmed it too."""
    found = state.get("proof")
    if not found or not found["ok"] or state["state"] == CONFIRMED:
        return found or {}
    login = state["reason"] or "no new login has confirmed the change yet"
    return dict(found, ok=False, missing=dict(found["missing"], login=login))


def _moment(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _of_what_was_undone(state):
    """A sentence on a change that did not stay."""
    notes = "".join(". %s" % note for note in state["notes"])
    if state["state"] == FAILED:
        return "the change failed: %s%s" % (state["reason"], notes)
    if "nothing was changed" in state["reason"] and "stopped" not in state:
        # Else a sentence on one step says that, and others went before.
        return state["reason"]
    what = "is being undone" if state["state"] == REVERTING else "was undone"
    rest = "" if state["state"] == REVERTING else ". %s%s" % (PUT_BACK, notes)
    return "the change %s: %s%s" % (what, state["reason"], rest)


def _told_as_diff(before, after):
    return dict(before=before + "\n", after=after + "\n", before_header="the change", after_header="the change")
