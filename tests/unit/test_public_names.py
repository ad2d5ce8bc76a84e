# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No public name goes, comes or changes without a sentence in the changelog.  public_names.py says what counts as one."""

import copy
import functools

import pytest
import yaml

from tests.unit import public_names
from tests.unit.public_names import ADDED, CHANGED, REMOVED, differences, not_named, words_of

BEFORE = dict(
    modules=dict(port_probe=dict(
        options=dict(timeout=dict(type="float", default=5), mode=dict(type="str", choices=["a", "b"]),
                     target=dict(type="dict", suboptions=dict(host=dict(type="str"), type=dict(type="str")))),
        returns=dict(results=dict(type="list", contains=dict(latency=dict(type="float")))),
        attributes=dict(check_mode=dict(support="full")))),
    roles=dict(boks=dict(
        options=dict(boks_waves=dict(type="list")), defaults=dict(boks_waves=["5%", "25%"]), entry_points=["apply"])),
    playbooks=dict(migrate=dict(tags=["phase1"])), paths=["/var/lib/portshift/host.lock"], variables_set=["boks_evidence"],
    documented_defaults=dict(boks_window="none"), action_groups=dict(all=dict(members=["port_probe"])),
    runtime=dict(requires="2.16"))


@functools.cache
def snapshot():
    return public_names.snapshot()


@functools.cache
def current():
    return public_names.current()


def changed(path, value=None):
    """BEFORE with another value at `path`; None takes it away."""
    after = copy.deepcopy(BEFORE)
    holder = after
    for key in path[:-1]:
        holder = holder[key]
    if value is None:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return after


def test_every_public_name_that_differs_is_in_the_changelog():
    found = differences(snapshot()["names"], current())
    missing = not_named(found, public_names.sentences(public_names.CHECKOUT, snapshot()))
    assert not missing, public_names.explained(missing)


def test_names_are_found_where_they_stand():
    names = current()
    for level, name in [("variables_set", "bigfix_component_evidence"), ("variables_set", "boks_way_back"),
                        ("variables_taken", "bigfix_max_missing"), ("paths", "/var/lib/portshift/host.lock"),
                        ("paths", "run.zip"), ("paths", "C:\\ProgramData\\portshift\\change_tracker_hub.json")]:
        assert name in names[level], (level, name)
    cutover = names["modules"]["bigfix_cutover"]
    # One of a doc fragment, one below another one, and one that a role takes over from a variable of all products.
    assert cutover["options"]["port"] == dict(type="int", required=True)
    assert cutover["options"]["bridge"]["suboptions"]["lease"]["default"] == "/var/lib/portshift/host.lock"
    assert cutover["attributes"]["check_mode"] == dict(support="full")
    # Of a doc fragment that puts its parts together: what a look has, a module that knows nothing of the host has as well.
    for look, option in [("boks_info", "boks_proof"), ("change_tracker_info", "change_tracker_proof")]:
        of_the_look = names["modules"][look]["options"]["proof"]["suboptions"]
        of_the_change = names["modules"]["confirmed_change"]["options"][option]["suboptions"]
        assert of_the_look["settle"] == dict(type="float", default=5) and of_the_look.items() < of_the_change.items()
    assert names["modules"]["port_probe"]["returns"]["results"]["contains"]
    assert "bigfix_record_path" in names["roles"]["bigfix_relay"]["defaults"]["bigfix_relay_record_path"]
    assert names["playbooks"]["migrate_bigfix_port"]["tags"] == ["phase1", "phase2", "phase3"]
    assert names["documented_defaults"]["boks_agent_waves"] == '`["5%", "25%"]`'
    assert names["filters"]["boks_ports"]["positional"] == "role, direction"


@pytest.mark.parametrize("path, value, found, words", [
    # path and new value, what is said of it, the words that a sentence needs
    (["modules", "port_probe"], None, REMOVED, {"port_probe"}),
    (["modules", "port_try"], dict(options=dict(a=dict(type="str")), returns={}, attributes={}), ADDED, {"port_try"}),
    (["modules", "port_probe", "options", "timeout"], None, REMOVED, {"port_probe", "timeout"}),
    (["modules", "port_probe", "options", "wait"], dict(type="int"), ADDED, {"port_probe", "wait"}),
    (["modules", "port_probe", "options", "timeout", "default"], 6, CHANGED, {"port_probe", "timeout"}),
    (["modules", "port_probe", "options", "timeout", "default"], None, CHANGED, {"port_probe", "timeout"}),
    (["modules", "port_probe", "options", "timeout", "type"], "int", CHANGED, {"port_probe", "timeout"}),
    (["modules", "port_probe", "options", "timeout", "required"], True, CHANGED, {"port_probe", "timeout"}),
    (["modules", "port_probe", "options", "timeout", "choices"], [5, 6], CHANGED, {"port_probe", "timeout"}),
    (["modules", "port_probe", "options", "timeout", "aliases"], ["wait"], ADDED, {"port_probe", "wait"}),
    (["modules", "port_probe", "options", "mode", "choices"], ["a"], REMOVED, {"port_probe", "b"}),
    (["modules", "port_probe", "options", "target", "suboptions", "host"], None, REMOVED, {"port_probe", "host"}),
    # An option that has the name of what is said of options.
    (["modules", "port_probe", "options", "target", "suboptions", "type"], None, REMOVED, {"port_probe", "type"}),
    (["modules", "port_probe", "options", "target", "suboptions", "type", "type"], "int", CHANGED, {"port_probe", "type"}),
    (["modules", "port_probe", "returns", "results", "contains", "latency"], None, REMOVED, {"port_probe", "latency"}),
    (["modules", "port_probe", "returns", "results", "contains"], None, REMOVED, {"port_probe", "latency"}),
    (["modules", "port_probe", "attributes", "check_mode", "support"], "none", CHANGED, {"port_probe", "check_mode"}),
    (["roles", "boks"], None, REMOVED, {"boks"}),
    (["roles", "boks", "options", "boks_waves"], None, REMOVED, {"boks_waves"}),
    (["roles", "boks", "options", "host_port_lease"], dict(type="str"), ADDED, {"host_port_lease"}),
    (["roles", "boks", "defaults", "boks_waves"], ["25%", "5%"], CHANGED, {"boks_waves"}),
    (["roles", "boks", "entry_points"], [], REMOVED, {"boks", "apply"}),
    (["playbooks", "migrate", "tags"], ["phase_1"], REMOVED, {"migrate", "phase1"}),
    (["paths"], [], REMOVED, {"/var/lib/portshift/host.lock"}),
    (["variables_set"], [], REMOVED, {"boks_evidence"}),
    (["documented_defaults", "boks_window"], "`always`", CHANGED, {"boks_window"}),
    (["action_groups", "all", "members"], [], REMOVED, {"port_probe"}),
    (["runtime", "requires"], "2.17", CHANGED, {"requires"}),
])
def test_difference_is_told_with_the_words_that_the_changelog_needs(path, value, found, words):
    told = [(difference.kind, words_of(difference)) for difference in differences(BEFORE, changed(path, value))]
    assert (found, words) in told and len(told) <= 2, told
    assert differences(BEFORE, copy.deepcopy(BEFORE)) == []


RENAMED = changed(["modules", "port_probe", "options", "timeout"])
RENAMED["modules"]["port_probe"]["options"]["wait"] = BEFORE["modules"]["port_probe"]["options"]["timeout"]


@pytest.mark.parametrize("said, left", [
    ([], ["timeout", "wait"]),
    ([("breaking_changes", "port_probe - ``timeout`` is ``wait`` now.")], []),
    # One sentence, not two that have a word each; whole words.
    ([("minor_changes", "port_probe - better."), ("minor_changes", "ports - ``timeout`` is ``wait``.")], ["timeout", "wait"]),
    ([("minor_changes", "port_probes - ``timeout`` is ``wait``.")], ["timeout", "wait"]),
    ([("minor_changes", "port_probe - ``timeouts`` is ``wait``.")], ["timeout"]),
    # What is taken away is not told under the mended faults.
    ([("bugfixes", "port_probe - ``timeout`` is ``wait`` now.")], ["timeout"]),
])
def test_sentence_that_names_the_difference(said, left):
    assert [difference.path[-1] for difference in not_named(differences(BEFORE, RENAMED), said)] == left


@pytest.mark.parametrize("role, said, told", [
    ("bigfix_client", "bigfix_client_tls", True), ("bigfix_client", "bigfix_tls", True),
    ("bigfix_client", "bigfix_relay_tls", False),
    ("boks", "boks_tls", True), ("boks", "_tls", False)])
def test_variable_of_a_role_may_be_told_by_that_of_all_roles(role, said, told):
    found = differences(*(dict(roles={role: dict(defaults={role + "_tls": value})}) for value in (False, True)))
    assert (not not_named(found, [("minor_changes", "playbooks - ``%s`` is true." % said)])) is told


def test_sentences_are_those_since_the_snapshot(tmp_path):
    (tmp_path / "changelogs" / "fragments").mkdir(parents=True)
    for name, content in [("old.yml", dict(minor_changes=["old"])),
                          ("new.yml", dict(bugfixes=["new\nline"], trivial=["unseen"]))]:
        (tmp_path / "changelogs" / "fragments" / name).write_text(yaml.safe_dump(content))
    (tmp_path / "changelogs" / "changelog.yaml").write_text(yaml.safe_dump(dict(releases={
        "0.9.0": dict(changes=dict(minor_changes=["then"])), "0.10.0": dict(changes=dict(minor_changes=["later"]))})))
    assert public_names.sentences(tmp_path, dict(fragments=["old.yml"], version="0.9.0")) == [
        ("bugfixes", "new line"), ("minor_changes", "later")]


def test_renamed_option_of_a_real_module_is_told(tmp_path, monkeypatch):
    """The whole way: a module's file says another name."""
    def files(*patterns):
        return [tmp_path / "port_probe.py"] if patterns == ("plugins/modules/*.py",) else []

    before = current()["modules"]
    source = (public_names.CHECKOUT / "plugins" / "modules" / "port_probe.py").read_text()
    (tmp_path / "port_probe.py").write_text(source.replace("\n  timeout:\n", "\n  patience:\n", 1))
    monkeypatch.setattr(public_names, "_files", files)
    told = public_names.explained(differences(dict(modules=before), dict(modules=dict(before, **public_names.modules()))))
    assert "modules > port_probe > options > timeout: taken away; a sentence needs: port_probe, timeout" in told
    assert "modules > port_probe > options > patience: added; a sentence needs: patience, port_probe" in told
