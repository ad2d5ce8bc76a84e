# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module with options of which neither the host's log nor the invocation in a result may show everything.

The no_log of Ansible is not enough: what is in a dictionary or a list is logged by its Python spelling, in which a line break
is another one than in the value that is looked for.  And it takes the value out of everything that the module returns, which
for a port is all that the result has to say.
"""


class RedactedOptions:
    """Goes before AnsibleModule among the bases of a class.  `redact`: the options as given -> as they may be shown."""

    def __init__(self, redact, **options):
        self._redact = redact
        super().__init__(**options)

    def _log_invocation(self):
        given, self.params = self.params, self._redact(self.params)
        try:
            super()._log_invocation()
        finally:
            self.params = given

    def exit_json(self, **result):
        self.params = self._redact(self.params)
        super().exit_json(**result)

    def fail_json(self, *sentence, **result):
        # Also while the options are checked, some of which may not be what they should be.
        self.params = self._redact(self.params)
        super().fail_json(*sentence, **result)
