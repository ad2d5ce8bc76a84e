# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A BoKS domain in containers for tests, and the playbooks run against it as a user runs them."""

from tests.integration.product_lab import ProductLab

OLD, NEW = 6500, 6530


class Domain(ProductLab):
    PRODUCT = "boks"

    def logins(self, *arguments):
        """-> whether they are as they should be, and what `logins --json` prints."""
        return self.judged("logins", *arguments)

    def bases(self):
        return {host: found["base"] for host, found in self.status().items()}

    def files(self, engine):
        """{host: the bytes, mode and owner of its services file}"""
        return {host: self.look(engine, host, "stat -c '%a %u %g' /etc/services; cat /etc/services") for host in self.hosts}

    def begin(self, verb, *options, base=NEW, **environment):
        """Starts VERB_boks_port.yml with the options that its user gives."""
        base = [] if verb == "rollback" else ["-e", "boks_base_port=%s" % base]
        return self.begin_file("playbooks/%s_boks_port.yml" % verb, *base, "-e", "boks_settle_seconds=0.5", *options,
                               **environment)
