# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page at which a root server or relay serves its masthead: the best sign that it is the product that answers."""

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead import MastheadError, parse
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST

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


def _page(address, port, tls, names_port=True):
    return dict(host=address, port=port, http=dict(path=MASTHEAD_PAGE, tls=tls, check=_check(port if names_port else None)))


def masthead_answer(address, port, tls, timeout, names_port=True, host=THIS_HOST):
    """A probe's result: whether a masthead is served there, with `names_port` one for that very port.  `host`: who asks."""
    return host.probe([_page(address, port, tls, names_port)], timeout)[0]


def await_masthead(address, port, tls, timeout, wait, host=THIS_HOST):
    """The same for a masthead for that port, asked again until `wait` seconds have passed."""
    return host.probe([_page(address, port, tls)], timeout, wait)[0]
