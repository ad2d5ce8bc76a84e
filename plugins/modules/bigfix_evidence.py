#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: bigfix_evidence
short_description: Waits until a BigFix host has proved that it works on its port
version_added: 0.1.0
description:
  - Looks for positive evidence, again and again until all of it is there or O(timeout) is over.
  - The files hold O(port) and nothing else. A server or relay answers on it with a masthead for it. The parent answers
    on it. The agent's own log or relay chain says that it reported since its files were changed. Web Reports and WebUI
    listen as before.
options:
  address:
    description: The address at which others reach this host. A server or relay has to answer there.
    type: str
  parent:
    description: Name or address of the relay or server that this host reports to.
    type: str
  tls:
    description: Ask for mastheads by HTTPS, as authenticating relays want it.
    type: bool
    default: false
  log_dir:
    description: Folder of the agent's logs, with files named C(YYYYMMDD.log). Without it no log is asked.
    type: path
  relay_chain_dir:
    description: Folder of the agent's relay chain files, named C(yyyymmdd.txt). A good entry there counts as a log line does.
    type: path
  success_patterns:
    description: Regular expressions for log lines that show a report getting through. V({port}) stands for O(port).
    type: list
    elements: str
    default: []
  failure_patterns:
    description: Regular expressions for log lines that show it not getting through. V({port}) stands for O(port).
    type: list
    elements: str
    default: []
  bind_address:
    description: Count only listeners that are bound to this address of the host, or to all.
    type: str
  files:
    description: Whether the files have to hold O(port) and nothing else.
    type: bool
    default: true
  log_max_age:
    description: Seconds for which a line of a log counts as evidence.
    type: float
    default: 86400
  allow_invalid_signature:
    description: Take mastheads whose signature is broken for good ones. For test systems only.
    type: bool
    default: false
  services:
    description: Services that have to run.
    type: list
    elements: str
    default: []
  service_command:
    description: A command that is called with SERVICE and V(status). The default is the service manager.
    type: list
    elements: str
    default: []
  neighbours:
    description: Ports of Web Reports and WebUI that have to be listened on.
    type: list
    elements: int
    default: []
  timeout:
    description: Seconds to wait for the evidence.
    type: float
    default: 60
  mark:
    description: Note in O(record), once, that the host has proved itself. Nothing else is ever written.
    type: bool
    default: false
extends_documentation_fragment:
  - portshift.agents.bigfix_host
  - portshift.agents.attributes
  - portshift.agents.attributes.proof
seealso:
  - module: portshift.agents.bigfix_info
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: The client reports through the new port
  portshift.agents.bigfix_evidence:
    component: client
    port: 55000
    parent: relay1.example.test
    masthead_paths: [/etc/opt/BESClient/actionsite.afxm]
    settings_paths: [/var/opt/BESClient/besclient.config]
    log_dir: /var/opt/BESClient/__BESData/__Global/Logs
    success_patterns: [Report posted successfully]
"""

RETURN = r"""
ok:
  description: Whether all evidence is there.
  returned: always
  type: bool
port:
  description: The port that was proved.
  returned: always
  type: int
evidence:
  description: One sentence for each piece of evidence found.
  returned: always
  type: dict
  sample: {"files": "3 files hold port 55000", "parent": "127.0.0.1 answers on port 55000", "log": "Report posted successfully"}
missing:
  description: One sentence for each piece of evidence that was not found.
  returned: always
  type: dict
moved_at:
  description:
    - When the migration to this port last wrote a file of the host, before it started the services, in seconds since 1970
      by the host's clock; null where no record says that it did.
  returned: unless the record can't be read
  type: float
  version_added: 0.2.0
looked_at:
  description: The moment at which this was looked at, by the same clock.
  returned: unless the record can't be read
  type: float
  version_added: 0.2.0
waited:
  description: Seconds until the evidence was complete.
  returned: always
  type: float
"""

import os
import re
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.portshift.agents.plugins.module_utils._agent_log import (
    compile_patterns, last_failure, log_entries, relay_chain_entries, success_after)
from ansible_collections.portshift.agents.plugins.module_utils._bigfix_host import HOST_SPEC, BigFixHost
from ansible_collections.portshift.agents.plugins.module_utils._change_record import moved_at
from ansible_collections.portshift.agents.plugins.module_utils._errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._file_edit import FileError, read_bytes
from ansible_collections.portshift.agents.plugins.module_utils._host_ports import listeners
from ansible_collections.portshift.agents.plugins.module_utils._masthead_page import masthead_answer
from ansible_collections.portshift.agents.plugins.module_utils._redaction import shown_words
from ansible_collections.portshift.agents.plugins.module_utils._services import Services

PAUSE = 0.5
PROBE_TIMEOUT = 5


def ask_files(params, unused):
    host = BigFixHost(params)
    if host.problems:
        return False, "; ".join(host.problems)
    # What a fresh plan would still edit shows what is not done.
    plan = host.plan(allow_invalid_signature=params["allow_invalid_signature"])
    if plan.problems or plan.edits:
        return False, "not on port %d yet: %s" % (
            host.port, "; ".join(plan.problems) or ", ".join(edit["path"] for edit in plan.edits))
    return True, "%d files hold port %d" % (len(host.mastheads) + len(host.settings), host.port)


def ask_masthead(who, host, params):
    result = masthead_answer(host, params["port"], params["tls"], PROBE_TIMEOUT)
    if result["reachable"]:
        return True, "%s %s answers on port %d" % (who, host, params["port"])
    return False, "%s %s does not answer on port %d: %s" % (who, host, params["port"], result["reason"])


def newest(folder, suffix):
    """Today's file and yesterday's: a restart may lie just before midnight."""
    try:
        names = sorted(name for name in os.listdir(folder) if re.match(r"\d{8}%s\Z" % re.escape(suffix), name.lower()))
    except OSError as err:
        raise FileError("%s: can't be read: %s" % (folder, err.strerror))
    return [(name, read_bytes(os.path.join(folder, name))) for name in names[-2:]]


def ask_log(params, since):
    success = compile_patterns(params["success_patterns"], params["port"])
    failure = compile_patterns(params["failure_patterns"], params["port"])
    entries = [entry for name, content in newest(params["log_dir"], ".log") for entry in log_entries(name, content)]
    proof = success_after(entries, since, success, failure)
    if proof:
        return True, shown_words(proof.text)
    if params["relay_chain_dir"] and os.path.isdir(params["relay_chain_dir"]):
        chain = [entry for name, content in newest(params["relay_chain_dir"], ".txt")
                 for entry in relay_chain_entries(name, content) if entry.time > since]
        if chain and chain[-1].good:
            return True, "relay chain: %s" % shown_words(chain[-1].text)
    trouble = last_failure(entries, since, failure)
    return False, "%s: no report got through since the change%s" % (
        params["log_dir"], "; last failure: %s" % shown_words(trouble.text) if trouble else "")


def ask_neighbours(params, unused):
    listening = listeners(set(params["neighbours"]), params["bind_address"])
    if listening is None:
        return True, "this host can't tell who listens"
    gone = set(params["neighbours"]) - {entry["port"] for entry in listening}
    if gone:
        return False, "nobody listens any more on port %s, which was not to move" % ", ".join(map(str, sorted(gone)))
    return True, "port %s as before" % ", ".join(map(str, params["neighbours"]))


def ask_services(services):
    down = services.down()
    return (False, "not running: %s" % ", ".join(down)) if down else (True, "all run")


def questions(params, services):
    """The pieces of evidence that this host owes: name -> function."""
    asked = [("files", ask_files)] if params["files"] else []
    if params["services"]:
        asked.append(("services", lambda p, since: ask_services(services)))
    if params["component"] != "client" and params["address"]:
        asked.append(("listening", lambda p, since: ask_masthead("this host at", p["address"], p)))
    if params["parent"]:
        asked.append(("parent", lambda p, since: ask_masthead("parent", p["parent"], p)))
    if params["neighbours"]:
        asked.append(("neighbours", ask_neighbours))
    if params["log_dir"]:
        asked.append(("log", ask_log))
    return asked


def gather(params, since, services):
    """(evidence, missing, seconds): each question is asked until it is answered well or the time is over."""
    started, evidence, missing = time.time(), {}, {}
    while True:
        for name, ask in questions(params, services):
            if name not in evidence:
                try:
                    good, sentence = ask(params, since)
                except EngineError as err:
                    good, sentence = False, str(err)
                (evidence if good else missing)[name] = sentence
                if good:
                    missing.pop(name, None)
        if not missing or time.time() - started + PAUSE > params["timeout"]:
            return evidence, missing, round(time.time() - started, 1)
        time.sleep(PAUSE)


def main():
    module = AnsibleModule(
        argument_spec=dict(
            HOST_SPEC, address=dict(type="str"), bind_address=dict(type="str"),
            files=dict(type="bool", default=True), parent=dict(type="str"), tls=dict(type="bool", default=False),
            log_dir=dict(type="path"), relay_chain_dir=dict(type="path"),
            success_patterns=dict(type="list", elements="str", default=[]),
            failure_patterns=dict(type="list", elements="str", default=[]),
            log_max_age=dict(type="float", default=86400), allow_invalid_signature=dict(type="bool", default=False),
            services=dict(type="list", elements="str", default=[]),
            service_command=dict(type="list", elements="str", default=[]),
            neighbours=dict(type="list", elements="int", default=[]), timeout=dict(type="float", default=60),
            mark=dict(type="bool", default=False)),
        supports_check_mode=True)
    params = module.params
    try:
        record = BigFixHost(params).record
        content = record.content if record else None
        # Without a change, or long after it, an old line says nothing about today.
        since = max((content or {}).get("last_change", 0), time.time() - params["log_max_age"])
        evidence, missing, waited = gather(params, since, Services(module, params["services"], params["service_command"]))
        result = dict(ok=not missing, port=params["port"], evidence=evidence, missing=missing, waited=waited,
                      moved_at=moved_at(content, params["port"]), looked_at=time.time())
        if missing:
            module.fail_json(msg="no proof on port %d after %g s: %s" % (
                params["port"], waited, "; ".join(missing[name] for name in sorted(missing))), **result)
        marked = bool(params["mark"] and content and content["state"] == "changing"
                      and content["new_port"] == params["port"])
        if marked and not module.check_mode:
            record.mark_verified()
        module.exit_json(changed=marked, **result)
    except EngineError as err:
        module.fail_json(msg=str(err))


if __name__ == "__main__":
    main()
