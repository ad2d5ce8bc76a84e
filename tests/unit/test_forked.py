# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are forks: what each sees, and how it ends, is as in a process of its own."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.integration import forked

# A module as the tests give one: what it finds, and what it leaves behind.
PROBE = """
import json, os, signal, sys

left = []


def main():
    asked = json.loads(os.environ["ASKED"])
    left.append(1)
    print(json.dumps(dict(cwd=os.getcwd(), pid=os.getpid(), session=os.getsid(0), stdin=sys.stdin.read(), left=len(left),
                          seen=os.environ.get("SEEN"), arguments=sys.argv[1:], interrupt=signal.getsignal(signal.SIGINT) is
                          signal.default_int_handler, open=sorted(map(int, os.listdir("/proc/self/fd")))[:4])), flush=True)
    print("heard", file=sys.stderr)
    os.environ["SEEN"] = "by this run"
    if asked == "sleep":
        sys.stdout.flush()
        signal.pause()
    if asked == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if asked == "raise":
        raise ValueError("a fault")
    sys.exit(asked)
"""


@pytest.fixture
def probe(tmp_path):
    (tmp_path / "probe_of_forked.py").write_text(PROBE)

    def begin(asked, **options):
        env = dict(os.environ, PYTHONPATH=str(tmp_path), ASKED=json.dumps(asked))
        return forked.begin("module", ["probe_of_forked", "{}"], env=env, cwd=tmp_path, **options)
    return begin


def test_a_run_sees_what_it_was_given_and_nothing_of_the_one_before(probe, tmp_path):
    for data in (None, "some\nlines" * 10000):
        run = probe(3, data=data)
        output, error = run.communicate(60)
        found = json.loads(output)
        assert (run.returncode, error, found["stdin"]) == (3, "heard\n", data or "")
        assert (found["cwd"], found["pid"], found["seen"], found["left"]) == (str(tmp_path), run.pid, None, 1)
        assert found["arguments"] == ["probe_of_forked", "{}"] and found["interrupt"]
        # The streams, and the list of them itself.
        assert found["open"] == [0, 1, 2, 3]


def test_a_run_ends_as_a_process_does(probe):
    ends = {}
    for asked in (None, 0, 7, "words", "raise", "die"):
        run = probe(asked, merged=True)
        ends[asked] = run.communicate(60)[0].splitlines()[-1], run.returncode
    assert ends[None] == ends[0] == ("heard", 0) and ends[7] == ("heard", 7) and ends["words"] == ("words", 1)
    assert ends["raise"] == ("ValueError: a fault", 1) and ends["die"][1] == -signal.SIGKILL


def test_runs_go_on_side_by_side_and_one_that_takes_too_long_is_ended(probe):
    first, second = probe("sleep", session=True), probe("sleep")
    told = json.loads(first.stdout.readline())
    assert told["session"] == first.pid and json.loads(second.stdout.readline())["session"] == os.getsid(0)
    assert first.poll() is None and second.poll() is None
    assert json.loads(probe(0).communicate(60)[0])["left"] == 1
    os.killpg(first.pid, signal.SIGTERM)
    assert first.wait() == -signal.SIGTERM and first.poll() == -signal.SIGTERM
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(0.1)
    with pytest.raises(subprocess.TimeoutExpired):
        second.communicate(0.1)
    assert second.wait(60) == -signal.SIGKILL
    third = probe("sleep")
    assert third.stdout.readline()
    third.terminate()
    assert third.wait(60) == -signal.SIGTERM


def test_a_module_that_can_not_be_imported_fails_in_its_run(tmp_path):
    done = forked.run("module", ["no_module_of_this_name", "{}"], 60, cwd=tmp_path)
    assert done.returncode == 1 and "No module named 'no_module_of_this_name'" in done.stderr


def test_ansible_runs_with_the_options_of_its_own_environment_and_leaves_no_folder(tmp_path):
    env = dict(os.environ, ANSIBLE_LOCAL_TEMP=str(tmp_path / "temporary"), ANSIBLE_PIPELINING="true")
    arguments = ["adhoc", "-i", "localhost,", "-c", "local", "-m", "ansible.builtin.ping", "all",
                 "-e", "ansible_python_interpreter=" + sys.executable]
    for extra, code, word in (([], 0, "pong"), (["-a", "data=crash"], 2, "boom"), (["--no-such-option"], 2, "usage: ansible ")):
        done = forked.run("ansible", [*arguments, *extra], 120, env=env, cwd=tmp_path, merged=True)
        assert done.returncode == code and word in done.stdout, done.stdout
        # What is left is that of the process that waits for more runs.
        assert len(os.listdir(tmp_path / "temporary")) == 1
    assert sorted(os.listdir(tmp_path)) == ["temporary"]
    done = forked.run("ansible", ["playbook", "--version"], 120, env=dict(env, ANSIBLE_HOME=str(tmp_path / "home")), cwd=tmp_path)
    assert done.stdout.startswith("ansible-playbook [core ")


# The same text as a template, as an expression, with a header of its own, and where backslashes are read once or twice.
TEMPLATES = r"""
- hosts: localhost
  gather_facts: false
  vars: {text: a.b, number: 3, nested: "{{ text ~ number }}", "double": "{{ text | regex_replace('\\.(b)', '-\\1') }}"}
  tasks:
    - ansible.builtin.debug: {msg: '{{ text | regex_replace("\.(b)", "-\1") }} text {{ double }} {{ nested }}'}
    - ansible.builtin.debug: {msg: "#jinja2: variable_start_string:'[[', variable_end_string:']]'\n[[ text ]] {{ text }}"}
    - ansible.builtin.debug: {msg: "{{ nested }}"}
      when: [nested == "a.b3", text is search("\.b"), "number in range(number + 1)"]
    - ansible.builtin.set_fact: {kept: "{{ dict(text=text, list=[number, undefined_one | default('none')]) }}"}
    - ansible.builtin.debug: {var: kept.list}
    - ansible.builtin.debug: {msg: "{{ text | no_such_filter }}"}
      ignore_errors: true
    - ansible.builtin.debug: {msg: "{{ text ) }}"}
      ignore_errors: true
    - ansible.builtin.assert: {that: [number == 4]}
"""


def test_templates_say_in_each_run_what_they_say_in_a_program_of_its_own(tmp_path):
    (tmp_path / "play.yml").write_text(TEMPLATES)
    arguments = ["-i", "localhost,", "-c", "local", "play.yml"]
    env = dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_HOME=str(tmp_path / "home"))
    program = subprocess.run(["ansible-playbook", *arguments], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120)
    assert program.returncode == 2 and program.stdout.count("fatal: ") == 3 and "a.b3" in program.stdout
    for _again in range(2):
        done = forked.run("ansible", ["playbook", *arguments], 120, cwd=tmp_path, env=env, merged=True)
        assert (done.stdout, done.returncode) == (program.stdout, 2)


def test_what_a_run_prints_goes_to_a_file_that_is_given(probe, tmp_path):
    with open(tmp_path / "printed", "wb") as file:
        run = probe(3, merged=True, file=file)
    assert run.wait(60) == 3 and "heard" in (tmp_path / "printed").read_text()


def test_mark_of_a_run_is_in_no_other_process(probe, monkeypatch):
    """Run.kill() takes every process with the mark for one of its own."""
    monkeypatch.setenv("PORTSHIFT_RUN", "a run")
    run = probe("sleep", prefix=["env", "TZ=UTC"])
    assert run.stdout.readline()
    # It is what the process has that forks for this prefix.
    with open("/proc/%d/environ" % run.pid, "rb") as file:
        assert b"PORTSHIFT_RUN" not in file.read()
    run.kill()
    assert run.wait(60) == -signal.SIGKILL
