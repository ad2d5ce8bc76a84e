# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock file of a deployment: who may migrate it, and until when.  Bytes in, bytes out.

A lease, not a lock that stays: a run that dies holds no other run up for longer than that.  All times are those of the host that
holds the file, so control nodes whose clocks differ agree.  The file also names the runs that another run took the
lease from: such a run has to stop, even when the one that took over has long released it.
"""

import hashlib
import json
import time

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError

VERSION = 1

# What tells a run from every other.  A process id alone comes again; so does one within a container.
IDENTITY = ("machine_id", "node", "boot", "pid_namespace", "pid", "process_start")
# The option of a module that says who asks.
RUN_SPEC = dict(
    node=dict(type="str", required=True), machine_id=dict(type="str", required=True), boot=dict(type="str", default=""),
    pid_namespace=dict(type="str", default=""), user=dict(type="str", required=True), pid=dict(type="int", required=True),
    process_start=dict(type="str", default=""), begun=dict(type="str", default=""))
HOLDER_KEYS = {"id", "node", "user", "pid", "purpose", "since", "renewed", "expires", "seconds"}
LOST_KEYS = {"id", "at", "by"}
# How a user says so, where there is no playbook that has a variable for it.
TAKE_OVER = "take_over: true"
# Options of the module; run and dead_owner are for the action plugin to fill in.
LOCK_SPEC = dict(
    path=dict(type="path", required=True), state=dict(type="str", choices=["held", "released"], default="held"),
    seconds=dict(type="int", default=600), take_over=dict(type="bool", default=False),
    take_over_with=dict(type="str", default=TAKE_OVER), purpose=dict(type="str", default=""),
    run=dict(type="dict", options=RUN_SPEC), dead_owner=dict(type="str"))

# How long, in seconds, and how many of the runs are remembered that have to stop.
LOST_KEPT, LOST_NUMBER = 7 * 86400, 50


class LockError(EngineError):
    """A lock that can't be had; the sentence carries no path."""


class HeldError(LockError):
    """Another run holds the lock: `holder`."""

    def __init__(self, sentence, holder):
        LockError.__init__(self, sentence)
        self.holder = holder


class LostError(LockError):
    """Another run has taken the lease of the run that asks."""


def moment(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def run_id(run):
    """The name of a run of ansible-playbook, the same for all its tasks; with a V(token), that of one task."""
    keys = IDENTITY + (("token",) if run.get("token") else ())
    return hashlib.sha256("\0".join(str(run.get(key) or "") for key in keys).encode("utf-8")).hexdigest()[:16]


def described(holder):
    """Such as: root@control1 (pid 4711, "migrate to 55000", since 2026-11-21T22:00:00Z)."""
    purpose = '"%s", ' % holder["purpose"] if holder["purpose"] else ""
    return "%s@%s (pid %s, %ssince %s)" % (holder["user"], holder["node"], holder["pid"], purpose, moment(holder["since"]))


def parse(data):
    """The content of a lock file; None stands for a file that is not there."""
    if data is None:
        return dict(version=VERSION, holder=None, lost=[])
    try:
        content = json.loads(data.decode("utf-8"))
        if content["version"] != VERSION:
            raise ValueError("version %r" % content["version"])
        for needed, found in [(HOLDER_KEYS, content["holder"] or dict.fromkeys(HOLDER_KEYS))] + [
                (LOST_KEYS, entry) for entry in content["lost"]]:
            if not needed <= set(found):
                raise ValueError("%s missing" % ", ".join(sorted(needed - set(found))))
        numbers = [content["holder"][key] for key in ("since", "renewed", "expires", "seconds")] if content["holder"] else []
        for number in numbers + [entry["at"] for entry in content["lost"]]:
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise ValueError("%r where a number has to be" % (number,))
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise LockError("is not a lock file of portshift.agents that this version reads (%s); look at it, and remove it if "
                        "you know that no run is migrating this deployment" % err)
    return content


def text(content):
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode("utf-8")


def is_empty(content):
    """Whether a file with this content says no more than no file."""
    return not content["holder"] and not content["lost"]


def _refusal(holder, now, take_over_with):
    rest = holder["expires"] - now
    if holder["renewed"] > now:
        life = "its last sign of life lies in the future of this host's clock, which was set back"
    else:
        life = "its last sign of life came %d s ago" % (now - holder["renewed"])
    return HeldError(
        "%s is migrating this deployment; %s, and its lock lapses in %d s, at %s. Nothing was changed. Wait until it has ended. "
        "Only if you know that it is dead, take over: %s" % (
            described(holder), life, rest + 1, moment(holder["expires"]), take_over_with), holder)


def hold(content, run, now, seconds, purpose="", take_over=False, dead_owner=None, take_over_with=TAKE_OVER):
    """Takes the lock for `run`, or renews it.

    `dead_owner`: the id of a run that the control node knows to have ended.  `take_over_with`: how the user says take_over, for
    the sentence.  Returns (content, the holder that it was taken from or None, why it could be taken from it).  Raises HeldError
    or LostError.
    """
    asking, holder = run_id(run), content["holder"]
    for entry in content["lost"]:
        # Not even with take_over: it was meant for the moment when the run began, and two of them would take turns.
        if entry["id"] == asking:
            raise LostError("this run no longer holds the lock of the deployment: %s took over at %s. It stops here; whatever "
                            "it has changed is in force. See what the other run does before you begin a new one"
                            % (entry["by"], moment(entry["at"])))
    ours = bool(holder) and holder["id"] == asking
    why = None
    if holder and not ours:
        if holder["expires"] <= now:
            why = "its lock lapsed at %s" % moment(holder["expires"])
        elif dead_owner == holder["id"]:
            why = "that process has ended"
        elif take_over:
            why = "as take_over says"
        else:
            raise _refusal(holder, now, take_over_with)
    new = dict({key: run.get(key) for key in IDENTITY + ("user", "begun")}, id=asking, renewed=now, expires=now + seconds,
               seconds=seconds, since=holder["since"] if ours else now,
               purpose=purpose or (holder["purpose"] if ours else ""))
    lost = [entry for entry in content["lost"] if now - entry["at"] < LOST_KEPT]
    if why:
        lost.append(dict(id=holder["id"], at=now, by=described(new)))
    return dict(version=VERSION, holder=new, lost=lost[-LOST_NUMBER:]), holder if why else None, why


def release(content, run):
    """The content without the lock of `run`, or None when the lock is not its own."""
    holder = content["holder"]
    if not holder or holder["id"] != run_id(run):
        return None
    return dict(content, holder=None)


def check(params):
    if params["seconds"] < 1:
        raise LockError("seconds is %d; give the seconds that the lock lasts without being renewed, such as 600"
                        % params["seconds"])


def asked(found, params, now):
    """(what the lock file has to hold, the module's result, a warning or None); None for the content where there is nothing of
    ours to release.  `found`: the bytes of the file, or None.
    """
    path = params["path"]
    try:
        content = parse(found)
        if params["state"] == "released":
            left = release(content, params["run"])
            return left, dict(holder=(left or content)["holder"], taken_over_from=None), None
        content, taken_from, why = hold(content, params["run"], now, params["seconds"], params["purpose"], params["take_over"],
                                        params["dead_owner"], params["take_over_with"])
    except HeldError as err:
        raise HeldError("%s: %s" % (path, err), err.holder)
    except LockError as err:
        raise type(err)("%s: %s" % (path, err))
    warning = why and "%s: took over from %s: %s" % (path, described(taken_from), why)
    return content, dict(holder=content["holder"], taken_over_from=taken_from), warning
