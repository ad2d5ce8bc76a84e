# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that forks for each run, begun by forked.py:  forking.py KIND DESCRIPTOR

KIND is "ansible" (arguments: adhoc or playbook, then what that takes) or "module" (arguments: the dotted path of a module,
then its arguments in JSON).
"""

import atexit
import functools
import gc
import hashlib
import importlib
import json
import marshal
import os
import random
import shutil
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


class Compiled:
    """Code that one process has compiled, for all that follow: each task of a host is a fork of its own, and what it has compiled
    would end with it."""

    def __init__(self, folder):
        self.folder = folder

    def path(self, *key):
        return os.path.join(self.folder, hashlib.sha256(repr(key).encode("utf-8", "surrogatepass")).hexdigest())

    @staticmethod
    def read(path):
        try:
            with open(path, "rb") as file:
                return marshal.load(file)
        except OSError:
            return None

    @staticmethod
    def write(path, code):
        own = "%s.%d.%d" % (path, os.getpid(), threading.get_ident())
        try:
            with open(own, "wb") as file:
                marshal.dump(code, file)
            os.rename(own, path)
        except OSError:
            pass    # It is compiled again, then.
        return code


def keep_plugins(compiled):
    """The plugins of collections, which have no .pyc files: most are imported by the fork that is one task of one host."""
    from ansible.utils.collection_loader import _collection_finder

    def compile_kept(source, filename, **how):
        path = compiled.path(source, filename, sorted(how.items()))
        return compiled.read(path) or compiled.write(path, compile(source, filename, **how))

    _collection_finder.compile = compile_kept


def keep_templates(compiled):
    """Templates and expressions of Jinja.  Those that can't be compiled fail anew each time."""
    try:
        from ansible._internal._templating import _jinja_bits as bits
    except ImportError:
        return    # as before ansible-core 2.19
    from jinja2.environment import TemplateExpression
    usual, usual_expression = bits.AnsibleEnvironment.compile, bits.AnsibleEnvironment.compile_expression
    expressions = threading.local()

    def where(environment, *what):
        context = bits._TemplateCompileContext.current(optional=True)
        return compiled.path(
            *what, context and context.escape_backslashes, type(environment).__name__,
            [getattr(environment, name) for name in bits._TEMPLATE_OVERRIDE_FIELD_NAMES])

    @functools.wraps(usual)
    def compile_template(self, source, name=None, filename=None, raw=False, defer_init=False):
        kept, expressions.path = getattr(expressions, "path", None), None
        path = kept if not isinstance(source, str) else where(self, "template", str(source), name, filename, defer_init)
        if raw or path is None:
            return usual(self, source, name, filename, raw, defer_init)
        return compiled.read(path) or compiled.write(path, usual(self, source, name, filename, raw, defer_init))

    @functools.wraps(usual_expression)
    def compile_expression(self, source, undefined_to_none=True):
        path = where(self, "expression", str(source))
        code = compiled.read(path)
        if code:
            return TemplateExpression(self.template_class.from_code(self, code, self.make_globals(None), None), undefined_to_none)
        # It comes to compile() as a tree, last.
        expressions.path = path
        try:
            return usual_expression(self, source, undefined_to_none)
        finally:
            expressions.path = None

    if not bits.AnsibleEnvironment._debuggable_template_source:
        bits.AnsibleEnvironment.compile, bits.AnsibleEnvironment.compile_expression = compile_template, compile_expression


def prepare(kind, folder):
    """`folder`: for what is kept while this process is there."""
    for name in IMPORTS[kind]:
        try:
            importlib.import_module(name)
        except ImportError:
            # Another ansible-core has it elsewhere; the run imports it then.
            pass
    if kind == "ansible":
        keep_routing()
        compiled = Compiled(folder)
        keep_plugins(compiled)
        keep_templates(compiled)


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
    folder = tempfile.mkdtemp(prefix="portshift-compiled-")
    prepare(kind, folder)
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
    shutil.rmtree(folder, ignore_errors=True)


main(*sys.argv[2:])
