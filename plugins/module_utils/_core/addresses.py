# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IP addresses and networks as text: what counts as one before it gets into a rule, a script or a comparison.  Pure.

Python takes whatever stands behind a % for the zone of an IPv6 address, line ends and braces too, and gives it back as it was.
"""

import ipaddress

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError


class AddressError(EngineError):
    """Text that is no address; the sentence names the option and the text."""


def network_of(text, strict=True):
    """The ipaddress network of an address or a network; ValueError for other text, and for an address with a zone."""
    if "%" in text:
        raise ValueError("%r has a zone" % text)
    return ipaddress.ip_network(text, strict=strict)


def parse_network(value, name):
    """The network (or the single address) that the option `name` gives."""
    text = str(value).strip()
    try:
        return network_of(text)
    except ValueError:
        raise AddressError("%s is %r, which is neither an address nor a network; give one such as 10.1.2.3 or 10.1.2.0/24"
                           % (name, value))


def parse_address(value, name):
    """The address that the option `name` gives, in the one spelling of ipaddress: one that a host can have."""
    text = str(value).strip()
    try:
        if "%" in text:
            raise ValueError(text)
        address = ipaddress.ip_address(text)
    except ValueError:
        raise AddressError("%s is %r, which is not an IP address; give one of this host's, such as 10.1.2.3, without a prefix "
                           "and without a zone" % (name, value))
    if address.is_unspecified or address.is_multicast or getattr(address, "ipv4_mapped", None):
        raise AddressError("%s is %s, which no host has for its own; give an address of this host, or none for all of them"
                           % (name, text))
    return str(address)
