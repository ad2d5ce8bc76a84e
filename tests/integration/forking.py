# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that forks for each run, begun by forked.py:  forking.py KIND DESCRIPTOR

KIND is "ansible" (arguments: adhoc or playbook, then what that takes) or "module" (arguments: the dotted path of a module,
then its arguments in JSON).
"""

import atexit
import gc
import importlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback

# What a run of each kind imports before it does anything of its own, as far as ansible-core has it.
IMPORTS = dict(
    module=["ansible.module_utils.basic", "ansible.module_utils.testing", "socket", "ssl", "subprocess", "tempfile"],
    ansible=["ansible.cli.adhoc", "ansible.cli.playbook", "ansible.executor.playbook_executor",
             "ansible.executor.task_executor", "ansible.executor.task_queue_manager", "ansible.executor.process.worker",
             "ansible._internal._errors._task_timeout", "ansible.executor.module_common", "ansible.executor.powershell",
             "ansible.module_utils.connection", "ansible.playbook.handler_task_include", "ansible.playbook.included_file",
             "ansible.playbook.role_include", "ansible.plugins.action.normal", "ansible.plugins.cache.memory",
             "ansible.plugins.callback.default", "ansible.plugins.connection.local", "ansible.plugins.filter.core",
             "ansible.plugins.inventory.host_list", "ansible.plugins.inventory.ini", "ansible.plugins.inventory.yaml",
             "ansible.plugins.shell.sh", "ansible.plugins.strategy.linear", "ansible.plugins.vars.host_group_vars",
             "ansible.module_utils.basic", "multiprocessing.popen_fork", "multiprocessing.synchronize", "xml.dom.minidom",
             "uuid", "ssl", "zipfile"],
)


def run_module(name, arguments):
    from ansible.module_utils import basic
    try:
        from ansible.module_utils.testing import patch_module_args
    except ImportError:
        patch_module_args = None
    arguments = json.loads(arguments)
    module = importlib.import_module(name)
    if patch_module_args:
        with patch_module_args(arguments):
            module.main()
    else:
        basic._ANSIBLE_ARGS = json.dumps(dict(ANSIBLE_MODULE_ARGS=arguments)).encode()
        module.main()


def run_ansible(command, *arguments):
    from ansible import constants
    from ansible.utils.path import cleanup_tmp_file
    # A folder for temporary files is made at the import; each run has its own, and takes it away.
    atexit.unregister(cleanup_tmp_file)
    common = constants.DEFAULT_LOCAL_TMP
    own = tempfile.mkdtemp(prefix="ansible-local-%d" % os.getpid(), dir=os.path.dirname(common))
    atexit.register(cleanup_tmp_file, own, warn=True)
    constants.DEFAULT_LOCAL_TMP = own
    share_archives(common, own)
    atexit.register(share_archives, own, common)
    program = importlib.import_module("ansible.cli." + command)
    program.main(["ansible" if command == "adhoc" else "ansible-" + command, *arguments])


def share_archives(source, target):
    """What goes to a host for a module, packed with all that it imports, is packed by one run for all that follow.

    Modules that lie beside a play are no part of it: another play may have another one of the same name.
    """
    source, target = (os.path.join(folder, "ansiballz_cache") for folder in (source, target))
    os.makedirs(target, exist_ok=True)
    for name in os.listdir(source) if os.path.isdir(source) else ():
        if name.startswith(("ansible_collections.", "ansible.modules.")) and not name.endswith(".lock"):
            try:
                os.link(os.path.join(source, name), os.path.join(target, name))
            except FileExistsError:
                pass


RUNS = dict(module=run_module, ansible=run_ansible)


def keep_routing():
    """Half of what is left before a run's first task is to read ansible.builtin's routing: 100 KB of YAML that stay the same."""
    import ansible
    from ansible.utils.collection_loader import _collection_finder
    read = _collection_finder._meta_yml_to_dict
    with open(os.path.join(os.path.dirname(ansible.__file__), "config", "ansible_builtin_runtime.yml"), "rb") as file:
        raw = file.read()
    known = read(raw, ("ansible.builtin", "runtime.yml"))
    # Its documentation allows for one that keeps what it has read.
    _collection_finder._meta_yml_to_dict = lambda data, content: known if data == raw else read(data, content)


def prepare(kind):
    for name in IMPORTS[kind]:
        try:
            importlib.import_module(name)
        except ImportError:
            # Another ansible-core has it elsewhere; the run imports it then.
            pass
    if kind == "ansible":
        keep_routing()


def live(kind, request, streams):
    """The run.  It ends as a program does."""
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        random.seed()
        os.environ.clear()
        os.environ.update(request["env"])
        time.tzset()
        if request["session"]:
            os.setsid()
        os.chdir(request["cwd"])
        sys.argv = [kind, *request["arguments"]]
        RUNS[kind](*request["arguments"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            pass
    os._exit(code & 255)


def keep(kind, request, streams, told):
    """Begins the run, and says its number, and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if not child:
        live(kind, request, streams)
    for stream in streams:
        os.close(stream)
    os.write(told, b"%d\n" % child)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(told, b"%d\n" % code)
    os._exit(0)


def main(kind, number):
    channel = socket.socket(fileno=int(number))
    prepare(kind)
    gc.collect()
    gc.freeze()
    # Those who keep the runs end unasked.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        said, received, _flags, _address = socket.recv_fds(channel, 1, 5)
        if not said:
            break
        with open(received[0]) as file:
            file.seek(0)
            request = json.load(file)
        if kind == "module":
            # What a module of ours imports stays loaded, too.  One that can't be imported fails in its run.
            try:
                importlib.import_module(request["arguments"][0])
            except (Exception, SystemExit):
                pass
        if not os.fork():
            try:
                channel.close()
                keep(kind, request, received[1:4], received[4])
            finally:
                os._exit(1)
        for descriptor in received[1:]:
            os.close(descriptor)


main(*sys.argv[2:])
