# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-core before 2.19 reads in another way; whole playbooks on the oldest one stand with their labs."""

import pytest
import yaml

from tests.integration.migration_lab import CHECKOUT

ROLES = sorted(path.parent.parent for path in (CHECKOUT / "roles").glob("*/vars/main.yml") if "_sentences:" in path.read_text())


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_sentence_of_a_role_can_be_put_together_before_anything_is_known(role, oldest, run_playbook):
    # A dict of sentences is put together whole where one of them is asked for.
    sentences = next(name for name in yaml.safe_load((role / "vars/main.yml").read_text()) if name.endswith("_sentences"))
    play = dict(
        hosts="localhost", gather_facts=False,
        vars_files=[str(role / name / "main.yml") for name in ("defaults", "vars") if (role / name / "main.yml").exists()],
        tasks=[dict(debug=dict(msg="{{ %s | length }} sentences" % sentences))])
    done = run_playbook([play], dict(all=dict(hosts=dict(localhost=dict(ansible_connection="local")))), program=oldest)
    assert done.returncode == 0 and " sentences" in done.stdout, done.stdout
