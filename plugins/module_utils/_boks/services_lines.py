# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services database (services(5)), read as the C library reads it and edited without losing a byte.

What counts is what getservbyname(3) answers.  glibc takes the first line that has the name, or has it among its aliases,
and the protocol asked for.  It reads the number as strtoul(3) does (06530 is octal, 0x1982 is hexadecimal), cuts it to 16
bits, and skips without a word any line that it does not understand.
"""

import re
from collections import namedtuple

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port

# isspace(3) in the C locale; no UTF-8 locale has another one-byte blank.
_BLANKS = b" \t\n\v\f\r"
_WORD = re.compile(br"[^ \t\n\v\f\r]+")
_HEAD = re.compile(br"([^ \t\n\v\f\r]+)[ \t\n\v\f\r]*")
_END = re.compile(b"[#\n]")
_NUMBER = re.compile(br"([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_BINARY = re.compile(br"[+-]?0[bB][01]")
_ULONG_MAX, _UINT32_MAX = 2 ** 64 - 1, 2 ** 32 - 1

# A blank ends a name, a number sign a line, and a slash stands between name and protocol wherever one asks for an entry.
_PLAIN_NAME = re.compile(r"[!\"$-.0-~]+\Z")
_PROTOCOL = re.compile(r"[a-z][a-z0-9-]*\Z")


class ServicesFileError(EngineError):
    """The services database can't be brought to what was asked without touching what is not ours."""


class Line(namedtuple("Line", "name port protocol aliases number span")):
    """A line that the C library understands: its number in the file, and the span of the port's digits in bytes.

    Odd bytes of names are in them as surrogates (PEP 383), so that no two names become one; shown() is for people.
    """

    __slots__ = ()

    def answers(self, name, protocol=None):
        return protocol in (None, self.protocol) and (name == self.name or name in self.aliases)


def parse(content):
    """What the C library sees: for each line of the file a Line, or None for one that it skips."""
    return [_understood(number, start, line) for number, start, line in _numbered(content)]


def resolve(content, name, protocol=None):
    """(port, Line) as the C library answers, or None.  `protocol` None: whichever comes first."""
    return lookup(parse(content), name, protocol)


def lookup(lines, name, protocol=None):
    """resolve(), of what parse() has found."""
    return next(((line.port, line) for line in lines if line and line.answers(name, protocol)), None)


def shown(text):
    """A name out of the file, for people: odd bytes may be in it."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _text(raw):
    # Without a loss, so that two names are equal when their bytes are.
    return raw.decode("utf-8", "surrogateescape")


def _numbered(content):
    """Number, offset and bytes (newline included) of each line."""
    number, start = 0, 0
    while start < len(content):
        stop = content.find(b"\n", start) + 1 or len(content)
        number += 1
        yield number, start, content[start:stop]
        start = stop


def _seen(line):
    """(offset, bytes) of what the C library looks at, and whether it repeats the end of it.

    Since 2.33 glibc moves an indented line to the left without the NUL at its end, so that without a newline before it
    as many bytes as were indented stand at the end twice: "  boks 6500/tcp" is read as boks 6500/tcpcp.
    """
    line = line.split(b"\0", 1)[0]
    text = line.lstrip(_BLANKS)
    indented = len(line) - len(text)
    repeated = bool(indented and text and not line.endswith(b"\n"))
    return indented, (text + line[len(text):] if repeated else text), repeated


def _understood(number, start, line):
    indented, text, _repeated = _seen(line)
    return _read(number, start + indented, text)


def _read(number, start, text):
    text = _END.split(text, maxsplit=1)[0]
    head = _HEAD.match(text)
    found = head and _NUMBER.match(text, head.end())
    port = found and _as_unsigned_long(*found.groups())
    rest = text[found.end():] if found else b""
    # A number that 32 bits don't hold is none.  Slashes go all together; without one the line ends, and has no protocol.
    if not found or port > _UINT32_MAX or rest[:1] not in (b"", b"/"):
        return None
    rest = rest.lstrip(b"/")
    protocol = _WORD.match(rest)
    protocol = protocol.group() if protocol else b""
    return Line(_text(head.group(1)), port & 0xffff, _text(protocol),
                [_text(word) for word in _WORD.findall(rest[len(protocol):])], number,
                (start + found.start(), start + found.end()))


def _as_unsigned_long(sign, digits):
    """As strtoul(3) reads it: with any of three bases, and a minus sign counts from the top."""
    if digits[:2].lower() == b"0x":
        value = int(digits, 16)
    else:
        # Python reads no decimal numbers of thousands of digits.
        value = int(digits, 8) if digits[:1] == b"0" else int(digits[:21])
    if value > _ULONG_MAX:
        return _ULONG_MAX
    return -value % (_ULONG_MAX + 1) if sign == b"-" else value


def doubtful(content, name):
    """A sentence on the first line about `name` that versions of the C library read differently, or None."""
    for number, _start, line in _numbered(content):
        _indented, text, repeated = _seen(line)
        text = text.split(b"#", 1)[0]
        why = None
        if repeated:
            why = "begins with blanks and has no newline at its end; give it one"
        elif _has_odd_number(text):
            why = "holds a number that is no port; correct the number or remove the line"
        # As it is read with the repetition, and as it is read without.
        if why and name in [_text(word) for word in _WORD.findall(text) + _WORD.findall(line.split(b"#", 1)[0])]:
            return "line %d is about %s and is read differently by different versions of the C library, since it %s" % (
                number, name, why)
    return None


def _has_odd_number(text):
    # Older ones take what 32 bits don't hold for the greatest number; the newest C knows binary numbers.
    head = _HEAD.match(text)
    found = head and _NUMBER.match(text, head.end())
    return bool(found and (_as_unsigned_long(*found.groups()) > _UINT32_MAX or _BINARY.match(text, head.end())))


class Change(namedtuple("Change", "after lines previous warnings")):
    """Bytes to write and what parse() says of them, {protocol: port or None} as it was, sentences for who asked."""

    __slots__ = ()


def check_name(name, what="name"):
    if not isinstance(name, str) or not _PLAIN_NAME.match(name):
        raise ServicesFileError("%s is %r, which can't stand in the services database: give printable ASCII characters without "
                                "blanks, # and /" % (what, name))
    return name


def check_protocols(*lists):
    for protocol in [protocol for names in lists for protocol in names]:
        if not _PROTOCOL.match(protocol):
            raise ServicesFileError("%r is no protocol as the services database spells one; give a name in lower case, such as "
                                    "tcp or udp" % (protocol,))
    if not any(lists):
        raise ServicesFileError("no protocol was given; name at least one, such as tcp")


def _check_comment(comment):
    if comment and any(ord(char) < 32 and char != "\t" or ord(char) == 127 or 0xd800 <= ord(char) < 0xe000 for char in comment):
        raise ServicesFileError("the comment holds a line break or a control character; a comment is one line of text")
    return (comment or "").strip().lstrip("#").strip()


def _own(lines, name, protocol):
    return [line for line in lines if line and line.name == name and line.protocol == protocol]


def _entry(line):
    return "%s %d/%s" % (shown(line.name), line.port, shown(line.protocol))


def _claim(name, protocol, line):
    return ("line %d, %s, has %s as an alias, so lookups of %s/%s end there and not at a line of its own"
            % (line.number, _entry(line), name, name, protocol))


def with_entry(content, name, port, protocols=("tcp",), protocols_if_present=(), aliases=None, comment=None, behind=()):
    """The Change that makes `name` resolve to `port`; nothing but digits of lines of that name, or new lines at the end.

    `protocols` get a line when they have none; `protocols_if_present` don't.  `aliases` and `comment` are for new lines.
    `behind`: what parse() found in a second database, which is asked for what this one does not have.  An entry there that
    has to move gets a line here, which is found first, with the aliases that it has there.
    """
    check_name(name)
    check_protocols(protocols, protocols_if_present)
    port, comment = parse_port(port), _check_comment(comment)
    aliases = [alias for alias in (aliases or []) if check_name(alias, "an alias") != name]
    _refuse_doubtful(content, name)
    lines, previous, warnings, splices, missing = parse(content), {}, [], [], []
    for protocol in _each_once(protocols, protocols_if_present):
        required, own = protocol in protocols, _own(lines, name, protocol)
        found = lookup(lines, name, protocol)
        if found and found[1].name != name:
            if required or own:
                raise ServicesFileError("%s; remove the alias from that line if that is right, then run again"
                                        % _claim(name, protocol, found[1]))
            warnings.append(_claim(name, protocol, found[1]))
        elif found:
            previous[protocol] = found[0]
            if found[0] != port:
                splices.append(found[1].span + (b"%d" % port,))
            lacking = [alias for alias in aliases if alias not in found[1].aliases]
            if lacking:
                warnings.append("line %d, %s, lacks the alias %s; lines that are there keep their names"
                                % (found[1].number, _entry(found[1]), ", ".join(lacking)))
        elif required or _own(behind, name, protocol):
            shipped = lookup(behind, name, protocol)
            previous[protocol] = shipped and shipped[0]
            if shipped and shipped[0] == port:
                continue
            same = shipped[1].aliases if shipped and shipped[1].name == name else []
            missing.append(_new_line(
                name, port, protocol, same + [alias for alias in aliases if alias not in same], comment))
            for alias in aliases:
                taken = lookup(lines, alias, protocol)
                if taken:
                    warnings.append("the alias %s is claimed by line %d, %s, so that lookups of it end there"
                                    % (alias, taken[1].number, _entry(taken[1])))
    after = _spliced(content, splices)
    after += _lines_put(after, missing, _line_end(after))
    lines = parse(after)
    asked = lines + list(behind)
    _require(asked, name, dict.fromkeys(previous, port))
    other = lookup(asked, name)
    if other and other[0] != port:
        warnings.append("line %d, %s, answers who asks for %s without a protocol, with port %d"
                        % (other[1].number, _entry(other[1]), name, other[0]))
    return Change(after, lines, previous, warnings)


def without_entry(content, name, port=None, protocols=("tcp",), protocols_if_present=()):
    """The Change that takes the lines of `name` away; with `port` only those of that port."""
    check_name(name)
    check_protocols(protocols, protocols_if_present)
    port = None if port is None else parse_port(port)
    _refuse_doubtful(content, name)
    lines, previous, warnings, splices = parse(content), {}, [], []
    for protocol in _each_once(protocols, protocols_if_present):
        own = _own(lines, name, protocol)
        if own or protocol in protocols:
            previous[protocol] = own[0].port if own else None
        splices += [_whole_line(content, line) + (b"",) for line in own if port in (None, line.port)]
    after = _spliced(content, splices)
    if splices and after.endswith(b"\n") and not content.endswith(b"\n"):
        # The last line went, and its file ended without a newline: so does the one that is left.
        after = after[:-2] if after.endswith(b"\r\n") else after[:-1]
    lines = parse(after)
    for protocol in previous:
        left = lookup(lines, name, protocol)
        if left and left[1].name != name:
            warnings.append(_claim(name, protocol, left[1]))
    return Change(after, lines, previous, warnings)


def _each_once(*lists):
    found = []
    for names in lists:
        found += [name for name in names if name not in found]
    return found


def _refuse_doubtful(content, name):
    sentence = doubtful(content, name)
    if sentence:
        raise ServicesFileError(sentence)


def _require(lines, name, ports):
    for protocol, port in ports.items():
        found = lookup(lines, name, protocol)
        if found is None or found[0] != port:
            raise ServicesFileError("the edit would not make %s/%s resolve to %d but to %s; look at the lines that name %s"
                                    % (name, protocol, port, found and found[0], name))


def _new_line(name, port, protocol, aliases, comment):
    line = "%-15s %d/%s" % (name, port, protocol)
    if aliases:
        line = "%-31s %s" % (line, " ".join(aliases))
    return ("%-47s # %s" % (line, comment) if comment else line).encode("utf-8", "surrogateescape")


def _line_end(content):
    # A carriage return at the very end would make one CRLF with a newline put after it; with a CRLF it stays what it is.
    last = content[:content.rfind(b"\n") + 1]
    return b"\r\n" if last.endswith(b"\r\n") or content.endswith(b"\r") else b"\n"


def _lines_put(content, lines, end):
    """Lines as the bytes to append; after a last line without newline they end without one, so that they can go again."""
    if not lines:
        return b""
    text = end.join(lines)
    return end + text if content and not content.endswith(b"\n") else text + end


def _whole_line(content, line):
    return content.rfind(b"\n", 0, line.span[0]) + 1, content.find(b"\n", line.span[1]) + 1 or len(content)


def _spliced(content, splices):
    out, at = [], 0
    for start, end, new in sorted(splices):
        out += [content[at:start], new]
        at = end
    return b"".join(out + [content[at:]])


def _effective(lines, name):
    """{protocol: the line that a lookup of `name` with it ends at}"""
    first = {}
    for line in lines:
        if line and line.answers(name):
            first.setdefault(line.protocol, line)
    return first


def entries(lines, name):
    """The lines of `name`, of those that parse() found, as dicts; `effective` tells those that lookups of it end at."""
    effective = _effective(lines, name)
    return [dict(name=shown(line.name), port=line.port, protocol=shown(line.protocol),
                 aliases=[shown(alias) for alias in line.aliases], line=line.number,
                 effective=effective[line.protocol] is line)
            for line in lines if line and line.name == name]


def shadowed(lines, name):
    """Sentences on the lines of `name` that lookups of it never reach."""
    found, effective = [], _effective(lines, name)
    for line in lines:
        if line and line.answers(name):
            first = effective[line.protocol]
            if first is not line:
                found.append("line %d, %s, is never reached by lookups of %s: line %d, %s, comes first"
                             % (line.number, _entry(line), name, first.number, _entry(first)))
    return found
