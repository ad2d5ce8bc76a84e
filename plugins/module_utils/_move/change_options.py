# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a change that undoes itself unless it is confirmed, for the module and for what stands for it on Windows."""

from ansible_collections.portshift.agents.plugins.module_utils._bridge.options import BRIDGE_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import MASK

_MAPPING = dict(old=dict(type="int", required=True), new=dict(type="int", required=True),
                protocols=dict(type="list", elements="str", choices=["tcp", "udp"]))
_COMMANDS = dict(type="list", elements="list", default=[])
# The bounds of the numbers of seconds.
BOUNDS = dict(timeout=(5, 3600), check_seconds=(0, 3600), command_seconds=(1, 3600), wait=(0, 7200))


def change_spec(kinds, proofs):
    """The options.  C(kinds): the FileKinds of what may be edited; C(proofs): the Proofs that may be asked for."""
    return dict(
        name=dict(type="str", required=True),
        state=dict(type="str", choices=["present", "begun", "confirmed", "reverted"], default="begun"),
        timeout=dict(type="int", default=60), confirm=dict(type="bool", default=False),
        wait=dict(type="int", default=0), token=dict(type="str", no_log=False), record=dict(type="path"),
        old_port=dict(type="int"), new_port=dict(type="int"), phase=dict(type="str"),
        stop=_COMMANDS, start=_COMMANDS, services=dict(type="list", elements="str", default=[]),
        executables=dict(type="dict", default={}), checks=_COMMANDS, check_seconds=dict(type="int", default=30),
        command_seconds=dict(type="int", default=120),
        files=dict(type="list", elements="dict", default=[], options=dict(
            path=dict(type="path", required=True), content=dict(type="str", required=True, no_log=True))),
        bridge=dict(type="dict", options=dict(BRIDGE_SPEC, mappings=dict(
            type="list", elements="dict", required=True, options=_MAPPING))),
        force=dict(type="bool", default=False), state_dir=dict(type="path", default="/var/lib/portshift"),
        unit_dir=dict(type="path", default="/etc/systemd/system"),
        **dict(proofs.spec, **{kind.option: dict(type="list", elements="dict", default=[], options=kind.spec)
                               for kind in kinds.with_option}))


def out_of_bounds(params):
    """A sentence about the first number of seconds that can't be, or None."""
    for name, (least, most) in sorted(BOUNDS.items()):
        if not least <= params[name] <= most:
            return "%s is %d; give %d to %d seconds" % (name, params[name], least, most)
    return None


def shown_params(params):
    """The options as the host's log and the result may show them."""
    files = params.get("files")
    if not isinstance(files, list):
        return dict(params, files=MASK if files else files)
    return dict(params, files=[dict(entry, content=MASK) if isinstance(entry, dict) else MASK for entry in files])
