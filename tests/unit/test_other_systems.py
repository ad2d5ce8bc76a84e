# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module that runs on hosts, on one that is neither Linux nor Windows: it works, or says in a sentence that it does not.

A stand-in of such a system: Python there says another name, lacks what is Linux' own, and finds nothing in /proc.
"""

import glob
import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from ansible_collections.portshift.agents.tests.unit import masthead_files

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OLD, NEW = 52311, 55000
AIX = dict(platform="aix", uname=["AIX", "node", "2", "7", "00F9C1964C00"], words="AIX (release 2, version 7)",
           lacks=["O_PATH", "O_CLOEXEC", "listxattr", "setxattr", "getxattr"])
SOLARIS = dict(platform="sunos5", uname=["SunOS", "node", "5.11", "11.4.42", "sun4v"],
               words="SunOS (release 5.11, version 11.4.42)", lacks=AIX["lacks"])
# Of before 11, whose C library has neither of them.
OLD_SOLARIS = dict(SOLARIS, lacks=AIX["lacks"] + ["O_DIRECTORY", "O_NOFOLLOW"])

# Each module with its arguments, one after the other in one process: what they return, or how they broke.
RUN = r"""
import importlib, io, json, os, sys, time
import ansible.module_utils.basic as basic
system, calls = json.loads(sys.argv[1]), json.loads(sys.argv[2])
try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:
    import contextlib
    @contextlib.contextmanager
    def patch_module_args(arguments):
        basic._ANSIBLE_ARGS = json.dumps(dict(ANSIBLE_MODULE_ARGS=arguments)).encode()
        yield
sys.platform = system["platform"]
os.uname = lambda: tuple(system["uname"])
for name in system["lacks"]:
    delattr(os, name)
del time.CLOCK_BOOTTIME
def unlike_linux(event, arguments):
    path = arguments[0] if arguments else None
    path = os.fsdecode(path) if isinstance(path, bytes) else path
    if event in ("open", "os.listdir", "os.scandir") and isinstance(path, str) and path.startswith(("/proc/", "/sys/")):
        raise FileNotFoundError(2, "No such file or directory", path)
sys.addaudithook(unlike_linux)
for name, arguments in calls:
    kept, sys.stdout = sys.stdout, io.StringIO()
    try:
        with patch_module_args(arguments):
            module = importlib.import_module("ansible_collections.portshift.agents.plugins.modules." + name)
            module.main()
        found = dict(broke="it ended without a result")
    except SystemExit:
        found = json.loads(sys.stdout.getvalue().strip().splitlines()[-1])
    except BaseException as err:
        found = dict(broke="%s: %s" % (type(err).__name__, err))
    finally:
        sys.stdout = kept
    print(json.dumps([name, found]))
"""

# Those that ask for processes, sockets, services or firewalls, with arguments that each of them takes.
BIGFIX = dict(component="client", port=NEW, masthead_paths=["/none"], settings_paths=["/none"], record="/none/record.json")
LINUX = dict(
    bigfix_cutover=dict(BIGFIX, services=["besclient"]), bigfix_evidence=BIGFIX, bigfix_info=BIGFIX,
    boks_evidence=dict(base_port=16530, status_command=["true"]), boks_info=dict(base_port=16530),
    change_tracker_evidence=dict(port=NEW), change_tracker_info=dict(port=NEW),
    confirmed_change=dict(name="boks", state="present"), host_port=dict(name="boks", openings=[dict(port=NEW)]),
    host_port_info=dict(name="boks", openings=[dict(port=NEW)]),
    nginx_listen=dict(port=NEW), nginx_listen_info=dict(port=NEW), port_bridge=dict(name="x", state="absent"),
    port_bridge_info=dict(name="x"), port_listener=dict(port=NEW))
# Product -> its modules that work there all the same.
EDITORS = dict(bigfix="bigfix_masthead and bigfix_settings", boks="services_entry", change_tracker="change_tracker_hub_url")

FILES = dict(
    masthead=masthead_files.plain(port=OLD), settings=b"[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\x]\nvalue = 1\n",
    hub=b"<HubDetails><Url>https://hub.example.test/api/</Url></HubDetails>", services=b"boks 16500/tcp # BoKS\n")


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def held(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def anywhere(folder):
    """Those that edit a file or ask the network, with arguments, and whether they change something."""
    record = dict(path=str(folder / "state" / "record.json"), old_port=OLD, new_port=NEW)
    return [
        ("services_entry", dict(name="boks", port=16530, path=str(folder / "services"), record=record, backup=True), True),
        ("bigfix_masthead", dict(path=str(folder / "masthead"), port=NEW), True),
        ("bigfix_masthead_info", dict(path=str(folder / "masthead")), False),
        ("bigfix_settings", dict(path=str(folder / "settings"), settings=dict(x="2")), True),
        ("change_tracker_hub_url", dict(path=[str(folder / "hub")], port=8443), True),
        ("change_record", dict(path=record["path"], state="restored"), True),
        ("port_probe", dict(targets=[dict(host="127.0.0.1", port=1)], timeout=1, fail_on_unreachable=False), False),
        ("run_lock", dict(path=str(folder / "run.lock"), run=dict(node="control", machine_id="x", user="root", pid=7)), False)]


def results(system, calls):
    environment = dict(os.environ, PYTHONPATH=os.environ["ANSIBLE_COLLECTIONS_PATH"].split(os.pathsep)[0])
    done = subprocess.run([sys.executable, "-c", RUN, json.dumps(system), json.dumps(calls)], env=environment, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_module_that_runs_on_hosts_is_one_or_the_other(folder):
    ours = set()
    for path in glob.glob(os.path.join(CHECKOUT, "plugins", "modules", "*.py")):
        with open(path, encoding="utf-8") as source:
            if "AnsibleModule" in source.read():
                ours.add(os.path.splitext(os.path.basename(path))[0])
    assert ours == set(LINUX) | {name for name, _arguments, _changes in anywhere(folder)}


def test_documentation_says_where_a_module_works(folder):
    with open(os.path.join(CHECKOUT, "plugins", "doc_fragments", "attributes.py"), encoding="utf-8") as source:
        fragments = {}
        exec(source.read(), fragments)
    for name in sorted(LINUX) + [name for name, _arguments, _changes in anywhere(folder)]:
        with open(os.path.join(CHECKOUT, "plugins", "modules", name + ".py"), encoding="utf-8") as source:
            documentation = yaml.safe_load(re.search(r'^DOCUMENTATION = r"""$(.*?)^"""$', source.read(), re.S | re.M).group(1))
        texts = [getattr(fragments["ModuleDocFragment"], one.rpartition(".")[2].upper())
                 for one in documentation["extends_documentation_fragment"] if ".attributes." in one]
        attributes = [documentation.get("attributes", {})] + [yaml.safe_load(text).get("attributes", {}) for text in texts]
        said = next(found["platform"]["platforms"] for found in attributes if "platform" in found)
        assert ("posix" if name not in LINUX else "linux") in said.split(", "), name


@pytest.mark.parametrize("system", [AIX, SOLARIS, OLD_SOLARIS], ids=["aix", "solaris", "old_solaris"])
def test_what_asks_linux_says_that_this_is_none_and_what_to_do(system):
    found = results(system, sorted(LINUX.items()))
    assert [name for name, _result in found] == sorted(LINUX)
    for name, result in found:
        assert result.get("failed") is True, (name, result)
        began = "this host runs %s, and this module works on Linux alone, " % system["words"]
        assert result["msg"].startswith(began), (name, result)
        beside = next((names for product, names in EDITORS.items() if name.startswith(product)), "those whose documentation has")
        assert "nothing was changed. Leave the host out of the run" in result["msg"]
        assert "; of this collection's modules %s " % beside in result["msg"], (name, result)


@pytest.mark.parametrize("system", [AIX, SOLARIS], ids=["aix", "solaris"])
def test_what_edits_a_file_or_asks_the_network_works_there(folder, system):
    calls = anywhere(folder)
    found = results(system, [call[:2] for call in calls[:5]])
    for (name, result), (_name, _arguments, changes) in zip(found, calls):
        assert (result.get("failed", False), result.get("changed")) == (False, changes), (name, result)
    now = held(folder)
    assert now["services"] == b"boks 16530/tcp # BoKS\n" and now["masthead"] == masthead_files.plain(port=NEW)
    assert b"value = 2\n" in now["settings"] and b"https://hub.example.test:8443/api/" in now["hub"]
    for (name, result), (_name, _arguments, changes) in zip(results(system, [call[:2] for call in calls[5:]]), calls[5:]):
        assert (result.get("failed", False), result.get("changed")) == (False, changes), (name, result)
    assert held(folder)["services"] == FILES["services"]


def test_where_a_path_can_not_be_walked_safely_nothing_is_opened(folder):
    calls = anywhere(folder)
    for name, result in results(OLD_SOLARIS, [call[:2] for call in calls]):
        assert "broke" not in result, (name, result)
        if name != "port_probe":
            assert result["failed"], (name, result)
            assert "(%s) has no O_DIRECTORY and no O_NOFOLLOW" % SOLARIS["words"] in result["msg"], (name, result)
    assert held(folder) == FILES
