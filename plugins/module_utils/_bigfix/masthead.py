# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BigFix mastheads (Masthead.afxm, actionsite.afxm): where they hold the port, and whether their signature is whole.

Two forms.  *Plain*: text with a `_PortNumber=52311` line, masthead URL headers, or both.  *Signed*: S/MIME
multipart/signed, whose first part is such text and whose second part is the signature over it; only the first part is
looked at for ports.  A masthead URL header is `X-<anything>-URL: http(s)://host:port/...`; `x-bes-fallback-server`
counts when its value is a URL with a port.  A line that begins with a blank continues the one before it.

Ports must be written plainly, 1 to 65535 without leading zeros: then the edit back gives the old bytes back.
Everything runs in time linear in the size of the file.
"""

import base64
import binascii
import re
from collections import OrderedDict, namedtuple

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import shown_url, with_urls_shown

_MAX_BASE64_LINE = 1000  # OpenSSL gives up at 1023, the standard says 76
_MAX_LISTED = 20  # places named in one sentence

_BLANK_LINE = re.compile(rb"(?m)^(?:\r[^\n]*)?\n")  # a line that begins with CR is blank to OpenSSL
_CONTENT_TYPE = re.compile(rb"(?im)^(\xef\xbb\xbf)?Content-Type[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)")
_SIGNATURE_PART = re.compile(rb"(?im)^Content-Type[ \t]*:[ \t]*application/(?:x-)?pkcs7-signature")
_PARAMETER = re.compile(rb';\s*([^\s=;"(]+)[ \t]*=[ \t]*(?:"([^"\r\n]*)"|([^\s;"(]*))\s*(?=;|\Z)')
_LINE = re.compile(
    rb"(?im)^(?:\xef\xbb\xbf)?(?:"
    rb"_PortNumber[ \t]*=(?P<port>[^\n]*)|"
    rb"X-Fixlet-Site-Serial-Number[ \t]*:(?P<serial>[^\n]*)|"
    # the value may stand on a continuation line
    rb"(?P<name>(?=X-)[!-9;-~]*-URL|X-BES-Fallback-Server)[ \t]*:(?:[ \t]*\r?\n(?=[ \t]))?[ \t]*"
    rb"(?P<url>https?://[^\r\n]*)"
    rb")"
)
_NUMBER = re.compile(rb'[ \t]*("?)([0-9]+)\1[ \t\r]*')
_URL = re.compile(rb"(?i)https?://(?:\[([^][\s]+)\]|([^][\s/?#:@]+))(?::([0-9]*))?(?=[\s/?#]|\Z)\S*")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\r*\n")

_Place = namedtuple("_Place", "start end port name line")  # the digits are data[start:end]


class MastheadError(EngineError):
    """What is wrong with a masthead and what to do.  Begins in lower case: the file's path goes in front."""


class Masthead:
    """A masthead that was read; see `parse`."""

    def __init__(self, data, places, urls, host, serial_number, verdict):
        self.data = data
        self.places = places  # every port, in the order of the file
        self.ports = sorted({place.port for place in places})
        self.port = self.ports[0] if len(self.ports) == 1 else None  # None: mixed
        self.urls = urls  # OrderedDict: header as written -> URL
        self.host = host  # as written, IPv6 without brackets
        self.serial_number = serial_number
        self.format = "signed" if verdict else "plain"
        self.signature = verdict.status if verdict else "absent"
        self.signature_reason = verdict.reason if verdict else "a plain file carries no signature"
        self.signer_sha256 = verdict.signer_sha256 if verdict else None

    def describe_ports(self):
        """Every port with where it stands: '_PortNumber (line 3): 52311, X-Fixlet-Site-Gather-URL: 52312'."""
        listed, seen = [], set()
        for place in self.places:  # a file with thousands of them still shows each different port
            if len(listed) < _MAX_LISTED or place.port not in seen and len(listed) < 2 * _MAX_LISTED:
                listed.append("%s%s: %d" % (
                    place.name, "" if place.name in self.urls else " (line %d)" % place.line, place.port))
                seen.add(place.port)
        more = len(self.places) - len(listed)
        return ", ".join(listed) + (", and %d more places" % more if more else "")


def parse(data):
    """Read a masthead (bytes).  Mixed ports are read too: `port` is then None."""
    if not data or data.isspace():
        raise MastheadError("empty file where a masthead was expected. Copy the masthead from the root server again.")
    head = _BLANK_LINE.search(data)
    content_type = _CONTENT_TYPE.search(data, 0, head.start() if head else len(data))
    if content_type and content_type.group(2).split(b";")[0].strip().lower() == b"multipart/signed":
        start, end, verdict = _signed_part(data, content_type, head.end() if head else len(data))
    elif _SIGNATURE_PART.search(data):  # never take it for a plain one: that could be edited as if nothing were signed
        raise MastheadError("signed masthead whose head does not say multipart/signed, so agents cannot read it. Copy"
                            " it from the root server again, in binary mode.")
    else:
        start, end, verdict = 0, len(data), None
    return _scan(data, start, end, verdict)


def with_port(masthead, port):
    """The file's bytes with `port` in place of the digits of every port; nothing else changes.

    In a signed masthead this breaks the signature: whether that is wanted, the caller knows.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise MastheadError("port %s cannot be set: choose one from 1 to 65535." % (port,))
    if masthead.port is None:
        raise MastheadError(
            "mixed ports in one masthead (%s). It is not clear which of them the agents use: restore the masthead of"
            " the root server, or have BESAdmin issue one for port %d." % (masthead.describe_ports(), port))
    pieces, done = [], 0
    for place in masthead.places:
        pieces += [masthead.data[done:place.start], b"%d" % port]
        done = place.end
    return b"".join(pieces + [masthead.data[done:]])


def check_issued(installed, issued, port, allow_invalid_signature=False):
    """May `issued` take the place of `installed` to move to `port`?  Raises if not; returns warnings (sentences)."""
    remedy = "Have BESAdmin issue a masthead for port %d and pass that file unchanged." % port
    if not allow_invalid_signature:
        if issued.signature == "absent" and installed.format == "signed":
            raise MastheadError("plain masthead without a signature, where the installed one is signed:"
                                " clients would reject it. " + remedy)
        if issued.signature == "invalid":
            raise MastheadError("signed masthead whose signature is broken (%s): clients would reject it. %s"
                                % (issued.signature_reason, remedy))
        if issued.signature == "unchecked":
            raise MastheadError("signed masthead whose signature cannot be checked here (%s). Have openssl check the file"
                                " (openssl smime -verify -binary -noverify -in FILE -out /dev/null), and where it is"
                                " successful allow it with allow_invalid_signature in that one run." % issued.signature_reason)
    if issued.ports != [port]:
        raise MastheadError("masthead issued for another port than %d (%s). %s"
                            % (port, issued.describe_ports(), remedy))
    warnings = []
    for what, old, new in (("host", installed.host, issued.host),
                           ("serial number", installed.serial_number, issued.serial_number)):
        if old is None or new is None:
            if old is not new:
                warnings.append("the %s masthead names no %s, so it was not compared: the other one says %s."
                                % ("installed" if old is None else "issued", what, new if old is None else old))
        elif old.lower() != new.lower():
            raise MastheadError("masthead of another deployment: its %s is %s, the installed one says %s. %s"
                                % (what, new, old, remedy))
    if installed.signer_sha256 and issued.signer_sha256 and installed.signer_sha256 != issued.signer_sha256:
        warnings.append("the issued masthead has another signer than the installed one: certificate sha256 %s, before"
                        " %s. Clients that trust only the old one will reject it."
                        % (issued.signer_sha256, installed.signer_sha256))
    return warnings


def masthead_facts(masthead):
    """What modules return of a masthead."""
    return dict(port=masthead.port, format=masthead.format, signature=masthead.signature,
                signer_sha256=masthead.signer_sha256, urls={name: shown_url(url) for name, url in masthead.urls.items()})


def is_masthead(data):
    try:
        return bool(parse(data))
    except MastheadError:
        return False


def redacted(data):
    """The same bytes for a diff.  A masthead is public, its server gives it to every client; a URL may hold more than that."""
    return with_urls_shown(data.decode("latin-1")).encode("latin-1")


class IssuedFacts:
    """What check_issued() asks of an issued masthead, when the masthead itself lies on another machine."""

    FIELDS = ("port", "ports", "format", "signature", "signature_reason", "signer_sha256", "host", "serial_number", "described")

    def __init__(self, facts):
        for field in self.FIELDS:
            setattr(self, field, facts.get(field))

    def describe_ports(self):
        return self.described


def issued_facts(masthead):
    """The facts of an issued masthead, to be sent to the host that holds the installed one; see IssuedFacts."""
    return dict({field: getattr(masthead, field) for field in IssuedFacts.FIELDS[:-1]}, described=masthead.describe_ports())


# --- the signed form --------------------------------------------------------------------------------------------


def _signed_part(data, content_type, body):
    """-> start and end of the part that is signed, and the Verdict on its signature."""
    # Here, since each module run compiles anew what it imports, and a plain masthead needs none of it.
    from ansible_collections.portshift.agents.plugins.module_utils._bigfix.cms import Verdict, verify_detached
    boundary = _boundary(content_type.group(2))
    if not boundary:
        raise MastheadError("signed masthead (multipart/signed) whose Content-Type names no boundary, so its parts"
                            " cannot be told apart. Copy it from the root server again.")
    # As in RFC 2046 and OpenSSL, a line that begins with the delimiter is one, whatever follows on it.
    lines = []
    for line in re.compile(rb"(?m)^--" + re.escape(boundary) + rb"(--)?[^\n]*\n?").finditer(data, body):
        lines.append(line.span())
        if line.group(1) or len(lines) == 4:
            break
    else:
        raise _cut_short("the closing boundary --%s-- is missing" % _text(boundary), data)
    if len(lines) < 3:
        raise _cut_short("it has no signature part", data)
    if len(lines) > 3:
        raise MastheadError("signed masthead with more than two parts; there must be the signed text and the signature."
                            " Copy it from the root server again.")
    (_before, start), (end, signature), (stop, _after) = lines
    signature = data[signature:stop]
    blank = _BLANK_LINE.search(signature)
    encoded = signature[blank.end():].translate(None, b" \t\r\n") if blank else b""
    if not encoded:
        raise _cut_short("its signature part is empty", data)
    kind = _CONTENT_TYPE.search(signature, 0, blank.start())
    kind = kind.group(2).split(b";")[0].strip().lower() if kind else b""
    if kind not in (b"application/x-pkcs7-signature", b"application/pkcs7-signature"):
        raise MastheadError("signed masthead whose second part is %s where application/x-pkcs7-signature was expected."
                            " Copy it from the root server again." % (_shown(kind) if kind else "of no known type"))
    if content_type.group(1):
        return start, end, Verdict("invalid", None, "a byte order mark hides its Content-Type")
    if any(len(line) > _MAX_BASE64_LINE for line in signature.split(b"\n")):
        return start, end, Verdict("invalid", None, "its signature part is not in lines as S/MIME has them")
    try:
        der = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return start, end, Verdict("invalid", None, "its signature part is not base64")
    # Signed is the text with CRLF at every line's end, up to the line break in front of the delimiter.
    return start, end, verify_detached(der, _BARE_LINE_FEED.sub(b"\r\n", data[start:end])[:-2])


def _boundary(value):
    """The boundary among the parameters of a Content-Type; behind a malformed parameter nothing counts."""
    parameter = _PARAMETER.match(value, value.find(b";") % (len(value) + 1))
    while parameter and parameter.group(1).lower() != b"boundary":
        parameter = _PARAMETER.match(value, parameter.end())
    return parameter and (parameter.group(2) or parameter.group(3))


def _cut_short(what, data):
    return MastheadError("signed masthead that is cut short: %s (%d bytes read). Copy it from the root server again,"
                         " in binary mode." % (what, len(data)))


# --- the text ---------------------------------------------------------------------------------------------------


def _scan(data, start, end, verdict):
    places, names, hosts, urls = [], {}, OrderedDict(), OrderedDict()
    serial_number = port_line = None
    is_masthead = False
    line, counted = 1, 0
    for match in _LINE.finditer(data, start, end):
        line += data.count(b"\n", counted, match.start())
        counted = match.start()
        if match.group("serial") is not None:
            serial_number = serial_number or _text(match.group("serial")) or None
        elif match.group("port") is not None:
            place = _port_line(data, match, line)
            if port_line and port_line.port != place.port:
                raise MastheadError("two _PortNumber lines that differ: %d (line %d) and %d (line %d). Keep the one"
                                    " that the root server listens on."
                                    % (port_line.port, port_line.line, place.port, place.line))
            port_line = port_line or place
            is_masthead = True
            places.append(place)
        else:
            name = _text(match.group("name"))
            optional = name.lower() == "x-bes-fallback-server"
            url = _URL.match(data, match.start("url"), match.end("url"))
            if optional and not (url and url.group(3)):
                continue  # a host name alone: it follows whatever port the rest names
            place = _url_port(url, name, line)
            key = name if name not in urls else "%s (line %d)" % (name, line)
            is_masthead = is_masthead or not optional
            places.append(place._replace(name=key))
            urls[key] = _text(url.group())
            hosts[key] = _text(url.group(1) or url.group(2))
            names.setdefault(name.lower(), key)
    if not is_masthead:
        raise _no_masthead(data)
    registration = names.get("x-fixlet-site-registration-url")
    own = [key for key in hosts if not key.lower().startswith("x-bes-fallback-server")] or list(hosts)
    host = hosts[registration or own[0]] if hosts else None
    return Masthead(data, places, urls, host, serial_number, verdict)


def _port_line(data, match, line):
    number = _NUMBER.fullmatch(data, *match.span("port"))
    if not number:
        raise MastheadError("_PortNumber (line %d) is %s, not a port number. Write one from 1 to 65535 there."
                            % (line, _shown(match.group("port"))))
    where = "_PortNumber (line %d)" % line
    return _Place(number.start(2), number.end(2), _port(number.group(2), where), "_PortNumber", line)


def _url_port(url, name, line):
    where = "masthead URL %s (line %d)" % (name, line)
    if not url:
        raise MastheadError("%s is not of the form http://host:port/path. Copy the masthead from the root server"
                            " again." % where)
    if not url.group(3):
        raise MastheadError("%s has no port in %s. A masthead names its port in every URL: copy the"
                            " masthead from the root server again."
                            % (where, _shown(shown_url(_text(url.group())).encode("latin-1"))))
    return _Place(url.start(3), url.end(3), _port(url.group(3), where), name, line)


def _port(digits, where):
    if digits[:1] == b"0" and digits.strip(b"0"):
        raise MastheadError("%s has the port %s, with a leading zero. Write it without one." % (where, _shown(digits)))
    if len(digits) > 5 or not 1 <= int(digits) <= 65535:  # the length first: int() of a million digits takes its time
        raise MastheadError("%s has the port %s. Ports go from 1 to 65535: correct it." % (where, _shown(digits)))
    return int(digits)


def _no_masthead(data):
    what = "has neither a _PortNumber= line nor masthead URL headers"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or data[1:2] == b"\0" or data[:1] == b"\0":
        what = "looks like UTF-16 text; a masthead is 8-bit text"
    elif b"\0" in data[:4096]:
        what = "looks like a binary file"
    return MastheadError("not a masthead: it %s. Name the Masthead.afxm or actionsite.afxm of the deployment." % what)


def _text(raw):
    return raw.decode("latin-1").strip()


def _shown(raw):
    """A piece of the file for a sentence: short, and printable whatever the bytes are."""
    raw = raw.strip()
    return ascii((raw if len(raw) <= 60 else raw[:57] + b"...").decode("latin-1"))
