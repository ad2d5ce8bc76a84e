# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role says of a host whose move failed, where no unit on the host says that by itself."""

import pathlib

import jinja2
import pytest
import yaml

from ansible_collections.portshift.agents.plugins.plugin_utils import _failed_move

ROLES = pathlib.Path(_failed_move.__file__).resolve().parents[2] / "roles"
PORT, EARLIER, OLD = 56000, 55000, 52311
# Role: the variable of its record, that of its port, and how its sentences call and describe what it moves.
OF_ROLE = dict(
    bigfix_component=("bigfix_component_way_back", lambda port: dict(bigfix_component_host=dict(port=port)), "port",
                      "Its files are as they were before, byte for byte, and its services were started again on the old port."))
FAILED = "Verify: no proof on port 56000 after 60 s"


@pytest.fixture(params=sorted(OF_ROLE))
def role(request):
    return request.param


def said(role, record=None, failure=FAILED, check=False, port=PORT, **more):
    way_back, of_port, words, back = OF_ROLE[role]
    text = yaml.safe_load((ROLES / role / "vars/main.yml").read_text())[role + "_sentences"]["failed"]
    jinja = jinja2.Environment(undefined=jinja2.StrictUndefined)
    jinja.filters["portshift.agents.failed_move"] = _failed_move.failed_move
    known = {"inventory_hostname": "host", "ansible_check_mode": check, role + "_failure": failure, way_back: dict(record=record)}
    known.update(of_port(port), **{"%s_%s" % (role, name): value for name, value in more.items()})
    return jinja.from_string(text).render(known)


def record(state, new_port=PORT):
    return dict(state=state, new_port=new_port, old_port=OLD)


# Text of digits is what a variable of the command line is.
@pytest.mark.parametrize("port", [PORT, str(PORT)])
@pytest.mark.parametrize("state", ["changing", "rolled_back"])
def test_a_host_that_was_put_back_is_said_to_be_as_before(role, state, port):
    assert said(role, record(state), port=port) == "host: %s. %s" % (FAILED, OF_ROLE[role][3])


def test_a_host_that_fails_to_go_on_from_the_port_of_an_earlier_migration_is_said_to_be_there(role):
    assert said(role, record("verified", EARLIER)) == (
        "host: %s. It is as it was before, on the %s that an earlier migration led to." % (FAILED, OF_ROLE[role][2]))


def test_a_host_that_had_proved_itself_before_is_said_to_have_been_left(role):
    assert said(role, record("verified")) == "host: %s. It was not put back, since it had proved itself on this %s before." % (
        FAILED, OF_ROLE[role][2])


def test_a_host_in_the_middle_of_another_migration_is_not_said_to_be_as_before(role):
    assert said(role, record("changing", EARLIER)) == (
        "host: %s. It was not put back: its record is that of a migration to %s %d, which has not ended." % (
            FAILED, OF_ROLE[role][2], EARLIER))


@pytest.mark.parametrize("failure", [
    "Apply: nothing was changed: no",
    "Apply: no. Its files are as they were before, byte for byte, and its services run on the old port.",
    "no proof. It was not put back, since it had proved itself on this port before",
    "no proof. Nothing was put back, since no migration of this host to port 55000 is under way"])
def test_a_module_that_has_said_what_became_of_the_host_is_not_repeated(role, failure):
    assert said(role, record("rolled_back"), failure) == "host: %s." % failure.rstrip(".")


def test_a_change_that_undid_itself_does_not_say_on_which_port_its_host_is(role):
    undone = "Apply: it was undone. Its files are as they were before, byte for byte, and the product was started with them"
    assert said(role, record("rolled_back"), undone).endswith(OF_ROLE[role][3])
    assert said(role, record("verified", EARLIER), undone).endswith("that an earlier migration led to.")


def test_the_port_is_called_what_the_product_calls_it():
    left = _failed_move.failed_move("no", record("verified"), PORT, "It is back.", words="base port")
    assert left == "no. It was not put back, since it had proved itself on this base port before."


def test_of_other_hosts_nothing_is_said(role):
    for known in (None, record("rolled_back", EARLIER)):
        assert said(role, known) == "host: %s." % FAILED


def test_check_mode_and_trouble_come_first(role):
    assert said(role, record("changing"), check=True).endswith(". Check mode: nothing was changed.")
    assert said(role, record("changing"), trouble="disk full").endswith(
        ". Putting it back failed too, it needs a person: disk full")
    assert said(role, record("changing"), "nothing was changed", trouble="disk full").endswith("disk full")


def test_sentence_stands_while_nothing_is_known(role):
    """ansible-core before 2.19 puts all sentences of a role together where one is asked for."""
    text = yaml.safe_load((ROLES / role / "vars/main.yml").read_text())[role + "_sentences"]["failed"]
    jinja = jinja2.Environment()
    jinja.filters["portshift.agents.failed_move"] = _failed_move.failed_move
    assert jinja.from_string(text).render(ansible_check_mode=False, bigfix_component_host={}) == ": ."
