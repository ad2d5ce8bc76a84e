# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page at which a root server or relay serves its masthead: the best sign that it is the product that answers."""

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead import MastheadError, parse
from ansible_collections.portshift.agents.plugins.module_utils._network.probe import probe, probe_all

MASTHEAD_PAGE = "/masthead/masthead.afxm"


def _check(port):
    def check(body):
        try:
            found = parse(body).ports
        except MastheadError as err:
            return "what it serves as masthead is none: %s" % err
        if port is None or found == [port]:
            return None
        return "it serves a masthead for port %s" % ", ".join(map(str, found))
    return check


def _page(host, port, tls, names_port=True):
    return dict(host=host, port=port, http=dict(path=MASTHEAD_PAGE, tls=tls, check=_check(port if names_port else None)))


def masthead_answer(host, port, tls, timeout, names_port=True):
    """A probe's result: whether a masthead is served there, with `names_port` one for that very port."""
    return probe(_page(host, port, tls, names_port), timeout)


def await_masthead(host, port, tls, timeout, wait):
    """The same for a masthead for that port, asked again until `wait` seconds have passed."""
    return probe_all([_page(host, port, tls)], timeout, wait)[0]
