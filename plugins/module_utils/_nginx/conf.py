# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of nginx's configuration: on which ports its web servers listen, edited without losing a byte.

Read as nginx reads it: words end at blanks, C(;) and an opening brace, may be quoted, and C(\\) and C($) keep the next character
from meaning anything.  What C(listen) says counts in a C(server) block of the http context alone, which is the top level of a
file below C(conf.d), and the block C(http) of C(nginx.conf).  Servers of C(stream) and C(mail) are not the hub's.

An edit is a splice: a listen gets a twin for another port beside it, or goes with its line.
"""

import re
from collections import OrderedDict, namedtuple

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import FileKind
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port

# Such files have a few KB.  What is beyond this is something else, and isn't worth this host's memory.
LIMIT = 1024 * 1024
# Blocks inside of each other: real files have no more than a handful.
DEPTH_LIMIT = 100
# What a server that names no port listens on, and one that has no listen at all.
DEFAULT_PORT = 80

_SKIPPED = re.compile(br"(?:[ \t\r\n]+|#[^\n]*)+")
_BARE = re.compile(br"(?:\\.|\$\{*|[^ \t\r\n;{\\$]+)+", re.S)
_QUOTED = {b'"': re.compile(br'"((?:[^"\\]|\\.)*)"', re.S), b"'": re.compile(br"'((?:[^'\\]|\\.)*)'", re.S)}
_AFTER_QUOTES = b" \t\r\n;{)"
_ESCAPE = re.compile(br"\\([\"'\\trn])")
_MEANING = {b"t": b"\t", b"r": b"\r", b"n": b"\n"}
# Code of a language of its own, in which braces, quotes and # mean something else.
_LUA_BLOCK = b"_by_lua_block"
_LUA = re.compile(br"""--\[(=*)\[.*?\]\1\]|--[^\n]*|\[(=*)\[.*?\]\2\]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[{}]""", re.S)

# The rest of a line on which nothing but a comment follows.
_REST_OF_LINE = re.compile(br"[ \t\r]*(?:#[^\n]*)?\n")
_BLANKS = re.compile(br"[ \t]*")

_PORT_ALONE = re.compile(br"([0-9]+)(?:-([0-9]+))?\Z")
_WITH_PORT = re.compile(br"(\[[^\]]*\]|[^:\[\]]+):([0-9]+)(?:-([0-9]+))?\Z")
_WITHOUT_PORT = re.compile(br"(?:\[[^\]]*\]|[^:\[\]/]+)\Z")
# A name by which a client can ask for a server, so neither a wildcard, nor a regular expression, nor "no name"; and one that is
# an address, which TLS does not pass on to the server.
_NAME = re.compile(r"(?=.{1,253}\Z)(?!_\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\Z")
_ADDRESS = re.compile(r"[0-9]+(?:\.[0-9]+){3}\Z")
# The names of "every address of IPv4".
_ANY = (b"*", b"0.0.0.0")
# What two listens of one server on the same address can't differ in without speaking another protocol.
_PROTOCOL_WORDS = ("ssl", "quic", "proxy_protocol")


class NginxError(EngineError):
    """A file that can't be edited without guessing; the sentence says where."""


# `value`: as nginx understands it.  `inner`: where the word stands, quotes excluded.
_Word = namedtuple("_Word", "value inner start line")
# `block`: the number of the block in which it stands; None at the top level.
_Directive = namedtuple("_Directive", "words start end line block")
_Block = namedtuple("_Block", "words line block")
# `text`: as it stands there, on one line.  `host`: * for every address of IPv4.  `protocol`: udp for QUIC.  `span`: the
# directive, its semicolon included.  `port_span`: the digits of the port; empty, and behind the address, where none is named.
Listen = namedtuple("Listen", "text host port last_port protocol parameters line span port_span")
# A web server: its listens, whether it takes in other files, which may have more of them, and its names as they stand there.
_Server = namedtuple("_Server", "line listens includes sockets names")


def _meaning(text):
    return _ESCAPE.sub(lambda found: _MEANING.get(found.group(1), found.group(1)), text)


def _shown(word):
    return word.value.decode("utf-8", "replace")


class _Reader:
    """Walks through the file once.  `directives`: those that end in a semicolon."""

    def __init__(self, data):
        if len(data) > LIMIT:
            raise NginxError(too_big(len(data)))
        self.data, self.at, self.counted, self.line = data, 0, 0, 1
        self.directives, self.blocks = [], []
        self._walk()

    def _line(self, at):
        """The line of a place that is not before the last one asked for."""
        self.line += self.data.count(b"\n", self.counted, at)
        self.counted = at
        return self.line

    def _skip(self):
        found = _SKIPPED.match(self.data, self.at)
        if found:
            self.at = found.end()

    def _word(self):
        start, line = self.at, self._line(self.at)
        first = self.data[start:start + 1]
        if first in _QUOTED:
            found = _QUOTED[first].match(self.data, start)
            if not found:
                raise NginxError("the quotation mark in line %d has no second one" % line)
            self.at = found.end()
            if self.at < len(self.data) and self.data[self.at:self.at + 1] not in _AFTER_QUOTES:
                raise NginxError("in line %d something follows a quotation mark without a blank" % self._line(self.at))
            return _Word(_meaning(found.group(1)), found.span(1), start, line)
        found = _BARE.match(self.data, start)
        if not found:
            raise NginxError("the file ends in line %d in the middle of a word" % line)
        self.at = found.end()
        return _Word(_meaning(found.group()), found.span(), start, line)

    def _skip_lua(self, line):
        depth = 1
        for found in _LUA.finditer(self.data, self.at):
            depth += {b"{": 1, b"}": -1}.get(found.group(), 0)
            if not depth:
                self.at = found.end()
                return
        raise NginxError("the block of Lua that begins in line %d has no end" % line)

    def _walk(self):
        stack, words = [], []
        while True:
            self._skip()
            mark = self.data[self.at:self.at + 1]
            if not mark:
                break
            if mark not in (b";", b"{", b"}"):
                words.append(self._word())
                continue
            line = self._line(self.at)
            self.at += 1
            if mark == b"}":
                if words or not stack:
                    raise NginxError("there is a closing brace in line %d that %s" % (
                        line, "comes before the semicolon of line %d" % words[0].line if words else "closes nothing"))
                stack.pop()
                continue
            if not words:
                raise NginxError("there is %s in line %d with nothing before it" % (
                    "a semicolon" if mark == b";" else "an opening brace", line))
            if mark == b";":
                self.directives.append(_Directive(words, words[0].start, self.at, words[0].line, stack[-1] if stack else None))
            elif words[0].value.endswith(_LUA_BLOCK):
                self._skip_lua(line)
            else:
                if len(stack) >= DEPTH_LIMIT:
                    raise NginxError("more than %d blocks stand inside of each other in line %d, where a few were expected: it "
                                     "is no file of nginx's configuration; look where it comes from" % (DEPTH_LIMIT, line))
                self.blocks.append(_Block(words, words[0].line, stack[-1] if stack else None))
                stack.append(len(self.blocks) - 1)
            words = []
        if words:
            raise NginxError("the directive that begins in line %d has no end; a semicolon is missing" % words[0].line)
        if stack:
            raise NginxError("the block that begins in line %d has no end; a closing brace is missing"
                             % self.blocks[stack[-1]].line)

    def web_servers(self):
        """number -> line of the blocks that are servers of the http context."""
        return {number: block.line for number, block in enumerate(self.blocks)
                if [word.value for word in block.words] == [b"server"] and self._is_http(block.block)}

    def _is_http(self, number):
        """Whether that is the http context: the top level, or a block http there."""
        return number is None or (self.blocks[number].block is None and self.blocks[number].words[0].value == b"http")


def too_big(size):
    return ("the file has %d bytes, where a few thousand were expected and %d are the limit: it is no file of nginx's "
            "configuration with a server in it" % (size, LIMIT))


def _number(text, line):
    port = int(text)
    if not 1 <= port <= 65535:
        raise NginxError("the listen in line %d names port %d, which is none" % (line, port))
    return port


def _listen(data, directive):
    """What a listen directive says; None for a socket of the file system."""
    words, line = directive.words, directive.line
    if len(words) < 2:
        raise NginxError("the listen in line %d names neither an address nor a port" % line)
    address = words[1]
    if address.value.lower().startswith(b"unix:"):
        return None
    if b"$" in address.value:
        raise NginxError("the listen in line %d has a variable (%s), which nginx does not know there, so the file is a template; "
                         "edit what it is made from" % (line, _shown(address)))
    begin, end = address.inner
    if data[begin:end] != address.value:
        raise NginxError("the listen in line %d has escaped characters in its address; write it without them" % line)
    alone, with_port = _PORT_ALONE.match(address.value), _WITH_PORT.match(address.value)
    if alone:
        host, first, last, span = b"*", alone.group(1), alone.group(2), alone.span(1)
    elif with_port:
        host, first, last, span = with_port.group(1, 2, 3) + (with_port.span(2),)
    elif _WITHOUT_PORT.match(address.value):
        host, first, last, span = address.value, b"%d" % DEFAULT_PORT, None, (end - begin, end - begin)
    else:
        raise NginxError("the listen in line %d has an address that can't be read: %s" % (line, _shown(address)))
    parameters = [_shown(word) for word in words[2:]]
    port = _number(first, line)
    return Listen(
        text=" ".join(_shown(word) for word in words[1:]), host="*" if host in _ANY else host.decode("utf-8", "replace").lower(),
        port=port, last_port=_number(last, line) if last else port, protocol="udp" if "quic" in parameters else "tcp",
        parameters=parameters, line=line, span=(directive.start, directive.end), port_span=(begin + span[0], begin + span[1]))


def _servers(data, reader=None):
    reader = reader or _Reader(data)
    servers = {number: _Server(line, [], [], [], []) for number, line in reader.web_servers().items()}
    for directive in reader.directives:
        server, name = servers.get(directive.block), directive.words[0].value
        if server is None:
            continue
        if name == b"listen":
            found = _listen(data, directive)
            (server.listens if found else server.sockets).append(found)
        elif name == b"include" and len(directive.words) > 1:
            server.includes.append(_shown(directive.words[1]))
        elif name == b"server_name":
            server.names.extend(_shown(word) for word in directive.words[1:])
    return [servers[number] for number in sorted(servers)]


def listens(data):
    """The listens of the web servers in the file, those on sockets of the file system left out."""
    return [listen for server in _servers(data) for listen in server.listens]


def server_names(data, port=None):
    """Names by which clients can ask for the web servers that listen on `port`; where none does, or it is None, for any of them.

    The first one is the best to ask by: a name comes before an address.
    """
    servers = _servers(data)
    having = [server for server in servers if any(listen.port == port for listen in server.listens)]
    names = [name.lower() for server in having or servers for name in server.names]
    return sorted(OrderedDict.fromkeys(filter(_NAME.match, names)), key=lambda name: bool(_ADDRESS.match(name)))


def every_port(data):
    """The ports of every listen in the file, in whatever context: a file that servers take in has them at its top level.

    For files that are not edited here, so what can't be read says nothing.
    """
    try:
        return _ports(_every_listen(data, _Reader(data)))
    except EngineError:
        return set()


def other_ports(data):
    """The ports of the listens in the file that none of its web servers has, such as those of stream and mail."""
    try:
        return _ports(_other_listens(data, _Reader(data)))
    except EngineError:
        return set()


def _ports(found):
    ports, reached = set(), 0
    for first, last in sorted((listen.port, listen.last_port) for listen in found):
        ports.update(range(max(first, reached + 1), last + 1))
        reached = max(reached, last)
    return ports


def _every_listen(data, reader, but_in=()):
    """The listens outside of the blocks `but_in` that can be read."""
    for directive in reader.directives:
        if directive.words[0].value != b"listen" or directive.block in but_in:
            continue
        try:
            listen = _listen(data, directive)
        except EngineError:
            continue
        if listen:
            yield listen


def _other_listens(data, reader):
    return _every_listen(data, reader, reader.web_servers())


def includes(data):
    """What the file takes in: the path of every include in it, in whatever context, with its wildcards.

    As every_port(), for files that are not edited here.
    """
    try:
        reader = _Reader(data)
    except EngineError:
        return []
    return [_shown(directive.words[1]) for directive in reader.directives
            if directive.words[0].value == b"include" and len(directive.words) > 1]


def _without_ranges(servers, *ports):
    """Fails where a range holds one of `ports`: it can't be moved by itself."""
    for server in servers:
        for listen in server.listens:
            for port in ports:
                if listen.port != listen.last_port and listen.port <= port <= listen.last_port:
                    raise NginxError("the listen in line %d has a range of ports (%s) that holds %d; write one listen for each "
                                     "port that is used" % (listen.line, listen.text, port))


def _lines(found):
    numbers = sorted({one.line for one in found})
    return "line%s %s" % ("" if len(numbers) == 1 else "s", ", ".join(map(str, numbers)))


def _nothing_on(data, servers, port):
    elsewhere = sorted({name for server in servers for name in server.includes})
    there = sorted({listen.port for server in servers for listen in server.listens})
    if port == DEFAULT_PORT and any(not server.listens and not server.sockets for server in servers):
        return ("no server in this file has a listen for port %d. One without any listen answers there by itself, and would not "
                "any more if it got one: write listen %d into it first" % (port, port))
    if not servers:
        return ("there is no server of the http context in this file. Name the file that has the server with path%s" % (
            "; those of stream and mail don't count" if b"server" in data else ""))
    return "no server in this file listens on port %d (%s%s). Name the file that has that listen with path" % (
        port, "they listen on %s" % ", ".join(map(str, there)) if there else "there is no listen in it",
        "; it takes in %s" % ", ".join(elsewhere) if elsewhere else "")


def _require_listen(data, port):
    servers = _servers(data)
    if not any(listen.port == port for server in servers for listen in server.listens):
        raise NginxError("%s, or with beside the port whose listens are to get a twin" % _nothing_on(data, servers, port))


def _protocol_of(listen):
    return [word for word in _PROTOCOL_WORDS if word in listen.parameters]


def _missing_twins(server, beside, port):
    """The listens on `beside` that have no counterpart on `port` yet."""
    there = {(listen.host, listen.protocol): listen for listen in server.listens if listen.port == port}
    missing = []
    for listen in server.listens:
        if listen.port != beside:
            continue
        twin = there.get((listen.host, listen.protocol))
        if twin is None:
            missing.append(listen)
        elif _protocol_of(twin) != _protocol_of(listen):
            raise NginxError("the listens in lines %d (%s) and %d (%s) are of one server and don't speak the same protocol; make "
                             "the second one like the first, or remove it" % (listen.line, listen.text, twin.line, twin.text))
    return missing


def _behind_blanks(data, at, blanks):
    """Where the `blanks` in front of a place begin."""
    while at and data[at - 1] in blanks:
        at -= 1
    return at


def _alone(data, span):
    """(start, end) of the lines that a directive has for itself, a comment behind it included; None where it shares them.

    Looks no further than those lines, which may be all of the file, so that asking for each directive does not read it each time.
    """
    start, rest = _behind_blanks(data, span[0], b" \t\r"), _REST_OF_LINE.match(data, span[1])
    return (start, rest.end()) if rest and data[start - 1:start] in (b"", b"\n") else None


def with_twins(data, beside, port):
    """bytes -> bytes in which each server that listens on `beside` does so on `port` too, with the same parameters.

    Where no server listens on `beside` any more and one does on `port`, there is nothing left to be done; without `beside`,
    that has to be so.
    """
    port = parse_port(port)
    if beside is None:
        _require_listen(data, port)
        return data
    beside = parse_port(beside, "beside")
    if beside == port:
        raise NginxError("port and beside are both %d; name the port that is there already with beside" % port)
    reader = _Reader(data)
    servers = _servers(data, reader)
    _without_ranges(servers, beside, port)
    having, others = [], []
    for server in servers:
        if any(listen.port == beside for listen in server.listens):
            having.append(server)
        else:
            others += [listen for listen in server.listens if listen.port == port]
    if not having:
        if others:
            return data
        raise NginxError(_nothing_on(data, servers, beside))
    if others:
        raise NginxError("another server in this file listens on port %d already (%s), and which one would answer there could "
                         "not be told any more; choose another port, or remove that listen" % (port, _lines(others)))
    outside = [listen for listen in _other_listens(data, reader) if listen.port <= port <= listen.last_port]
    if outside:
        raise NginxError("something else than a web server, such as stream or mail, listens on port %d in this file already "
                         "(%s), and nginx could not give the port to both; choose another port, or remove that listen"
                         % (port, _lines(outside)))
    pieces, done = [], 0
    for listen in sorted((listen for server in having for listen in _missing_twins(server, beside, port)),
                         key=lambda found: found.span[0]):
        start, end = listen.span
        digits = b"%d" % port if listen.port_span[0] < listen.port_span[1] else b":%d" % port
        twin = data[start:listen.port_span[0]] + digits + data[listen.port_span[1]:end]
        lines = _alone(data, listen.span)
        if lines is None:
            at, twin = end, b" " + twin
        else:
            at = lines[1]
            twin = data[lines[0]:start] + twin + (b"\r\n" if data[at - 2:at] == b"\r\n" else b"\n")
        pieces += [data[done:at], twin]
        done = at
    return b"".join(pieces + [data[done:]])


def _neighbours(data, going):
    """The spans of directives, those as one that have nothing but blanks between them: they go as one does."""
    spans = []
    for start, end in going:
        if spans and _BLANKS.match(data, spans[-1][1]).end() == start:
            spans[-1] = spans[-1][0], end
        else:
            spans.append((start, end))
    return spans


def _span_to_remove(data, span):
    lines = _alone(data, span)
    if lines:
        return lines
    start, end = span
    before = _behind_blanks(data, start, b" \t")
    if before and data[before - 1:before] != b"\n":
        return before, end
    # The first of several on its line: those behind it take over its place.
    return start, _BLANKS.match(data, end).end()


def _is_any(host):
    """Whether that is every address of its family."""
    return host == "*" or (host.startswith("[") and not host.strip("[]:0"))


def _takes_in(wide, listen):
    """Whether a listen on every address of its family has that of another one, of the same protocol.

    What a name stands for is not known.
    """
    if listen.host.startswith("["):
        return wide.host != "*"
    return (listen.host == "*" or bool(_ADDRESS.match(listen.host))) and (wide.host == "*" or "ipv6only=off" in wide.parameters)


def _addresses(listens_of, port):
    return {(listen.host, listen.protocol) for listen in listens_of if listen.port == port}


def _left_alone(server, named, port, beside):
    """The listens of a server on `port` whose addresses it does not have on `beside`.

    How it is spoken to on the port that stays is for that one to say.  Where any server has an address of its own there, which is
    in `named`, nginx asks none of those that have every address.
    """
    kept = [listen for listen in server.listens if listen.port == beside]
    own = _addresses(kept, beside)
    # One for each of those that differ in what they take in.
    wide = {(listen.protocol, listen.host == "*", "ipv6only=off" in listen.parameters): listen
            for listen in kept if _is_any(listen.host)}.values()
    return [listen for listen in server.listens if listen.port == port and (listen.host, listen.protocol) not in own and (
        (listen.host, listen.protocol) in named or not any(
            one.protocol == listen.protocol and _takes_in(one, listen) for one in wide))]


def _require_left(data, servers, port, beside):
    """Fails where clients of a server on `port` would lose it, since it does not have that address on `beside`."""
    named = _addresses((listen for server in servers for listen in server.listens), beside)
    for server in servers:
        alone = _left_alone(server, named, port, beside)
        if not alone:
            continue
        try:
            with_twins(data, beside=port, port=beside)
            mend = "Run the migration again, which gives it one"
        except EngineError:
            # Others that have left the port already stand in its way.
            mend = "Give it one by hand"
        only = len([listen for listen in server.listens if listen.port != port]) + len(server.sockets) == 0
        raise NginxError("the server in line %d%s listens on port %d (%s) and has no such listen on port %d, so it could not be "
                         "reached there any more. %s, or take %s out by hand" % (
                             server.line, " (%s)" % server.names[0] if server.names else "", port, _lines(alone), beside, mend,
                             "that server" if only else "that listen" if len(alone) == 1 else "those listens"))


def without(data, port, beside=None):
    """bytes -> bytes in which no web server of the file listens on `port` any more.

    With `beside`, the port that stays: the address of each listen on `port` has to be listened on there by the same server.
    """
    port = parse_port(port)
    servers = _servers(data)
    if beside is not None:
        beside = parse_port(beside, "beside")
        if beside == port:
            raise NginxError("port and beside are both %d; name the port that stays with beside" % port)
        _without_ranges(servers, port, beside)
        _require_left(data, servers, port, beside)
    _without_ranges(servers, port)
    for server in servers:
        going = [listen for listen in server.listens if listen.port == port]
        if going and len(going) == len(server.listens) and not server.sockets:
            raise NginxError("the server in line %d would have no listen left without port %d (%s), and nginx would let it "
                             "answer on port %d; give it another listen first" % (server.line, port, _lines(going), DEFAULT_PORT))
    pieces, done = [], 0
    for span in _neighbours(data, sorted(listen.span for server in servers for listen in server.listens if listen.port == port)):
        start, end = _span_to_remove(data, span)
        pieces.append(data[done:start])
        done = end
    return b"".join(pieces + [data[done:]])


def _compared(found):
    return sorted((listen.host, listen.port, listen.protocol, listen.parameters) for listen in found)


def moved_back(now, before, new_port):
    """The bytes now, with the listens that they had before a move to `new_port`; None where that can't be told.

    For a file that others have changed since: what they wrote stays.
    """
    try:
        wanted, content = listens(before), now
        if any(listen.port == new_port for listen in wanted):
            return None
        for port in sorted({listen.port for listen in wanted} - {listen.port for listen in listens(now)}):
            content = with_twins(content, new_port, port)
        content = without(content, new_port)
        return content if _compared(listens(content)) == _compared(wanted) else None
    except EngineError:
        return None


def shown(data):
    """For a diff: the servers with what they listen on.  What else stands in the file may hold passwords."""
    try:
        servers = _servers(data)
    except EngineError:
        return b"(a file that can't be read)\n"
    lines = []
    for server in servers:
        lines += ["server {"] + ["    listen %s;" % listen.text for listen in server.listens] + ["    ...", "}"]
    return "".join(line + "\n" for line in lines).encode("utf-8")


# A hub's configuration of nginx is a site's own, which may say more by now.  The pattern is also in one that is broken, and in no
# file of the other products.
KIND = "nginx_conf"
KINDS = [FileKind(KIND, re.compile(br"^[ \t]*(?:server[ \t\r\n]*\{|listen[ \t])", re.M).search,
                  lambda *states, ports=(): shown, undo=moved_back)]
