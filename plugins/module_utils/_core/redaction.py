# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a diff, a result, a sentence or a log may show of text that others wrote.

Of a URL everything but user info, query and fragment.  Of a file that holds secrets the engine of its format says what else is
shown, by a list of what is known to be harmless.
"""

import re

MASK = "********"

_URL = re.compile(r"""
    (https?://)
    (?: ([^/?#\s]*) @ )?                                        # a password may hold an "@" itself: the last one counts
    ( \[ [0-9A-Za-z:.%_~-]+ \] | [^/?#:@%\[\]\s]+ )
    ( : [0-9]{0,5} )?
    ( / [^?#\s]* )?
    ( \? [^#\s]* )?
    ( \# \S* )? \Z""", re.I | re.X)
# A password with a slash in it moves the rest of the user info into the path; a path may carry a whole URL, or be one encoded.
_ODD_PATH = re.compile(r"@|%(?:40|3f|23)|://", re.I)

# In a sentence that another program wrote.  What ends a clause is no part of the URL.
_URL_IN_TEXT = re.compile(r"https?://\S*[^\s.,;:)\]}>\"']", re.I)
# Each of these begins where a word begins, so that a long line is not looked at once more for each of its characters.
_USER_INFO = re.compile(r"(?<![^\s/@])[^\s/@:]+:[^\s/@]+@")
_ASSIGNED = re.compile(r"(?<![\w.-])([\w.-]+)([ \t]*=[ \t]*)(\"[^\"]*\"|'[^']*'|[^\s,;]+)")
# A name that says so hides all of its clause, up to the next assignment: a password may hold blanks, or stand behind "is".
_SECRET = re.compile(r"(?<![\w-])([\w-]*(?:pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|api-?key)(?:[ \t]*=[ \t]*"
                     r"|[ \t]{1,8}is[ \t]+|(?<=--password)[ \t]+))((?:(?![ \t]{1,8}[\w.-]{1,64}[ \t]{0,8}=)[^,;])+)", re.I)
_NUMBERS = ("port", "code", "status", "pid", "errno", "signal", "exit", "exitcode", "line")
_HEADER = re.compile(r"(?<![\w-])((?:[\w-]*(?:pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|api-?key)|authorization"
                     r"|cookie)[\"']?[ \t]*:[ \t]*|(?:basic|bearer)[ \t]+)(\S.*)", re.I)


def shown_url(text):
    """The URL without user info, query and fragment; nothing of what is no http or https URL."""
    found = _URL.match(text)
    if not found:
        return MASK
    scheme, user, host, port, path, query, fragment = found.groups()
    if user is None and any(part and "@" in part for part in (path, query, fragment)):
        # A password with a slash, "?" or "#" in it: what stands where the host does may be the user, and its beginning.
        return scheme + MASK
    if path and _ODD_PATH.search(path):
        path = "/" + MASK
    return "".join((scheme, MASK + "@" if user is not None else "", host, port or "", path or "",
                    "?" + MASK if query else "", "#" + MASK if fragment else ""))


def with_urls_shown(text):
    """The text with shown_url() in place of each URL in it."""
    return _URL_IN_TEXT.sub(lambda found: shown_url(found.group()), text)


def shown_words(text):
    """What another program said, such as a line of a log: URLs as above, and no value that it gives to a name."""
    def assigned(found):
        name, equals, value = found.groups()
        plain = name.lower() in _NUMBERS and value.isdigit() and len(value) <= 5
        return name + equals + (value if plain else MASK)
    text = _USER_INFO.sub(MASK + "@", with_urls_shown(text))
    text = _SECRET.sub(lambda found: found.group(1) + MASK, text)
    return _HEADER.sub(lambda found: found.group(1) + MASK, _ASSIGNED.sub(assigned, text))
