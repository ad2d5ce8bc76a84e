# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HubDetails.xml of the Netwrix Change Tracker agent: where its hub is, edited without losing a byte.

Format, as Netwrix shows it: a root HubDetails with one element for each setting,

    <HubDetails>
      <Url>https://hub.example.test/api/</Url>
      <Username>agent</Username>
      <Password />
      <E1>what the agent makes of the password, bound to this machine</E1>
    </HubDetails>

Expat says what is well-formed and where each thing stands; it sees the text in UTF-8, whatever the file is in.  Each character
of the URL knows the bytes that it came from, so an edit replaces the characters that differ and no others.  A document type
is refused where it begins, so no entity is ever defined, expanded or fetched.

No sentence quotes what the file holds, beyond names and places: next to the URL stand passwords, and in a broken
file there is no telling which is which.
"""

import codecs
import re
import unicodedata
from collections import namedtuple
from xml.parsers import expat

from ansible_collections.portshift.agents.plugins.module_utils._network.certificate import CertificateError, parse_thumbprint
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import PortError, parse_port
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import MASK

# The vendor's files have about 1 KB.  What is beyond this is something else, and isn't worth this host's memory.
LIMIT = 256 * 1024
DEPTH_LIMIT = 100
URL_LIMIT = 2048

ROOT = "HubDetails"
# Elements whose text a diff may show, and names that a sentence may.
SHOWN = ("Url", "NamePrefix", "NameSuffix", "UseDefaultProxy", "UseDeterministicGuid", "UseNewHub")
KNOWN = SHOWN + (ROOT, "Username", "Password", "E1", "Proxy", "ProxyDomain", "ProxyUsername", "ProxyPassword", "Thumbprint",
                 "PublicKeyString")
DEFAULT_PORTS = {"http": 80, "https": 443}

_BLANKS = " \t\r\n"
_WAY_BACK = "restore it from a backup, or write it again as the agent's installation did"
# In this order: the mark of UTF-32 begins like that of UTF-16.
_MARKS = ((codecs.BOM_UTF32_LE, None), (codecs.BOM_UTF32_BE, None), (codecs.BOM_UTF8, "utf-8"),
          (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# What an encoding may be called in the declaration of a file with that byte order mark.
_SAME = {"utf-8": ("utf-8",), "utf-16-le": ("utf-16", "utf-16-le"), "utf-16-be": ("utf-16", "utf-16-be")}
_SUPPORTED = {"utf-8", "ascii", "utf-16-le", "utf-16-be"} | {"iso8859-%d" % part for part in range(1, 17)} | {
    "cp%d" % page for page in range(1250, 1259)}
_DECLARED = re.compile(r"""<\?xml[ \t\r\n][^>]*?[ \t\r\n]encoding[ \t\r\n]*=[ \t\r\n]*(?:"([^"<>]*)"|'([^'<>]*)')""")
# A name begins behind a blank: tried inside of one as well, a long one would cost the square of its length.
_ATTRIBUTE = re.compile(br"""(?<=[ \t\r\n])([^ \t\r\n=/<>]+)([ \t\r\n]*=[ \t\r\n]*)("[^"]*"|'[^']*')""")
# A character of the URL as the file spells it, or where a CDATA section begins or ends.
_SPELLED = re.compile(br"&(?:#[xX]?[0-9A-Fa-f]+|[A-Za-z]+);|<!\[CDATA\[|\]\]>|.", re.S)
_URL = re.compile(r"(https?)://(\[[0-9A-Za-z:.%_~-]+\]|[^\[\]:/?#%]+)(?::([0-9]*))?(?=[/?#]|\Z)", re.I)

_CODES = expat.errors.codes
_CUT_SHORT = {_CODES[message] for message in (
    expat.errors.XML_ERROR_NO_ELEMENTS, expat.errors.XML_ERROR_UNCLOSED_TOKEN, expat.errors.XML_ERROR_PARTIAL_CHAR,
    expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION)}
_MISMATCH = _CODES[expat.errors.XML_ERROR_TAG_MISMATCH]
_ENTITY = _CODES[expat.errors.XML_ERROR_UNDEFINED_ENTITY]
_JUNK = _CODES[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]
_INVALID = _CODES[expat.errors.XML_ERROR_INVALID_TOKEN]
_DUPLICATE = _CODES[expat.errors.XML_ERROR_DUPLICATE_ATTRIBUTE]


class HubDetailsError(EngineError):
    """A HubDetails.xml that can't be edited without guessing, or a URL or port that can't be put into it."""


# What of the file decides, beside the URL, by which way an agent reaches its hub.
_WAY = ("Thumbprint", "Proxy", "UseDefaultProxy")

# `span`: first and last byte + 1 of the URL, blanks around it excluded.  `port`: the one in force, the scheme's if none is named.
HubDetails = namedtuple("HubDetails", "url port span encoding")
# How an agent reaches its hub.  `host`: without the brackets of an IPv6 address.  `thumbprint`: that of the hub's certificate,
# None for none; `odd_thumbprint`: one stands there that can't be that of a certificate.  `proxy`: (host, port) of the HTTP proxy
# that the file names; `default_proxy`: the one that the system names is taken.
Way = namedtuple("Way", "host path tls thumbprint odd_thumbprint proxy default_proxy")
# One character of the URL: its bytes in the UTF-8 text, and whether it stands in a CDATA section.
_Char = namedtuple("_Char", "char start end cdata")


def parse(data):
    return _read(data)[0]


def way(data):
    """How the agent with this file reaches its hub.  What it returns holds no secret."""
    found, text = _read(data)
    parts = _parts(found.url, "the URL is ")
    # Nothing but the path: what an agent sends as a query may be a secret, and no path to the hub depends on it.
    host, rest = parts.group(2), re.split("[?#]", found.url[parts.end():])[0]
    if host.startswith("["):
        host = host[1:-1].replace("%25", "%")
    text, digits = text.setting, None
    try:
        digits = parse_thumbprint(text("Thumbprint"))
    except CertificateError:
        # Its sentence quotes what stands there, which may be anything.
        pass
    return Way(host, rest if rest.startswith("/") else "/" + rest, parts.group(1).lower() == "https",
               digits, bool(text("Thumbprint")) and not digits, proxy_of(text("Proxy")),
               text("UseDefaultProxy").lower() in ("true", "1"))


def proxy_of(text):
    """(host, port) out of http://user:password@host:port, or of a part of that; None for an empty one."""
    if not text:
        return None
    # Passwords hold slashes and colons too: what is before the last @ is one, whatever it looks like.
    found = re.match(r"(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?(\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#]+)(?::([0-9]{1,5}))?(?:[/?#].*)?\Z",
                     text.rpartition("@")[2])
    if not found:
        return "", 0
    return found.group(1).strip("[]"), int(found.group(2) or 80)


def moved_back(now, before, port):
    """The bytes now with the URL of the bytes before, where all that `now` says of the hub is what moving to `port` made of it.

    For a file that its agent has written anew since: credentials that were changed in between stay as they are.  None for any
    other file.
    """
    try:
        old = parse(before).url
        return with_url(now, old) if parse(now).url in (old, url_with_port(old, port)) else None
    except EngineError:
        return None


def with_url(data, url):
    """bytes -> bytes with `url` as the text of the live Url."""
    _parts(url, "url is ")
    found, text = _read(data)
    start, end, new = _splice(text, url)
    mark = len(_mark(data)[0])
    begin = mark + len(_encoded(text.utf8[:start], found.encoding))
    stop = begin + len(_encoded(text.utf8[start:end], found.encoding))
    # What an encoding lacks is written as a reference, as XML has it.
    after = data[:begin] + new.decode("utf-8").encode(found.encoding, "xmlcharrefreplace") + data[stop:]
    if parse(after).url != url:
        raise HubDetailsError("the Url can't be replaced in this file: read again, it would be another one than was asked for; "
                              "edit it by hand")
    return after


def with_port(data, port):
    """bytes -> bytes with the live Url on `port`: its scheme, host and path stay as they are."""
    port = parse_port(port)
    return with_url(data, url_with_port(parse(data).url, port))


def url_with_port(url, port):
    """The URL on that port.  One that is on it already, by its scheme alone too, stays as it is."""
    parts = _parts(url, "the URL is ")
    if port_of(url) == port:
        return url
    end = parts.end(2)
    return "%s:%d%s" % (url[:end], port, url[parts.end():])


def port_of(url):
    parts = _parts(url, "the URL is ")
    return int(parts.group(3)) if parts.group(3) else DEFAULT_PORTS[parts.group(1).lower()]


def redacted(data):
    """The file as UTF-8 for a diff: the text of everything that is not known to be harmless is masked.

    So are comments, processing instructions and the values of attributes.  A file that is not understood is all mask.
    """
    try:
        text = _read(data)[1]
    except EngineError:
        return MASK.encode("ascii")
    return bytes(text.shown)


def _mark(data):
    return next(((mark, encoding) for mark, encoding in _MARKS if data.startswith(mark)), (b"", None))


def _encoded(utf8, encoding):
    return utf8.decode("utf-8").encode(encoding)


def _decoded(data):
    """(text, Python's name of the encoding); the byte order mark is no part of the text."""
    if len(data) > LIMIT:
        raise HubDetailsError(too_big(len(data)))
    mark, marked = _mark(data)
    body = data[len(mark):]
    if not body.strip(_BLANKS.encode("ascii")):
        raise HubDetailsError("the file is empty; " + _WAY_BACK)
    if mark and not marked:
        raise HubDetailsError("the file begins with the byte order mark of UTF-32, which is not supported here; save it as UTF-8")
    if not marked and b"\0" in body:
        at = body.index(b"\0")
        if body[:2] in (b"<\0", b"\0<"):
            raise HubDetailsError("the file is in UTF-16 without a byte order mark; save it with one, or as UTF-8")
        raise HubDetailsError("there is a NUL byte in %s, which no XML file holds: the file is damaged; %s" % (
            _place(body.decode("latin-1"), at), _WAY_BACK))
    declared, name = _declaration(body[:1000].decode(marked or "latin-1", "replace"))
    if marked and name not in _SAME[marked] + (None,):
        raise HubDetailsError("the file says encoding=\"%s\" in line 1, but begins with the byte order mark of %s; save it in "
                              "one encoding and name that" % (declared, "UTF-8" if marked == "utf-8" else "UTF-16"))
    if not marked and name in ("utf-16", "utf-16-le", "utf-16-be"):
        raise HubDetailsError("the file says encoding=\"%s\" in line 1, but its bytes are not UTF-16; save it in one encoding "
                              "and name that" % declared)
    encoding = marked or name or "utf-8"
    if encoding not in _SUPPORTED:
        raise HubDetailsError("the file says encoding=\"%s\" in line 1, which is unknown or not supported here; save it as UTF-8"
                              % declared)
    try:
        return body.decode(encoding), encoding
    except UnicodeDecodeError as err:
        why = "%s by what line 1 says" % declared if declared else "%s since it names none" % encoding.upper()[:6]
        raise HubDetailsError("byte %d of the file, in %s, does not fit its encoding, %s; save it in the encoding that it names"
                              % (len(mark) + err.start + 1, _place(body[:err.start].decode(encoding, "replace"), None), why))


def _declaration(head):
    """What the XML declaration calls the encoding, and what Python does; None for what is not there."""
    found = _DECLARED.match(head)
    if not found:
        return None, None
    declared = found.group(1) if found.group(1) is not None else found.group(2)
    if not re.match(r"[A-Za-z][A-Za-z0-9._-]{0,39}\Z", declared):
        raise HubDetailsError("line 1 names an encoding in a way that no name of one is written; save the file as UTF-8")
    try:
        return declared, codecs.lookup(declared).name
    except LookupError:
        return declared, declared


def too_big(size):
    return ("the file has %d bytes, where one of about 1000 was expected and %d are the limit: it is no HubDetails.xml; %s"
            % (size, LIMIT, _WAY_BACK))


def _place(text, at):
    """A place in words.  `at`: None for the end of the text."""
    before = (text if at is None else text[:at]).replace("\r\n", "\n").replace("\r", "\n")
    return "line %d, column %d" % (before.count("\n") + 1, len(before) - before.rfind("\n"))


def _read(data):
    """(HubDetails, _Text)"""
    decoded, encoding = _decoded(data)
    if "\0" in decoded:
        raise HubDetailsError("there is a NUL character in %s, which no XML file holds: the file is damaged; %s" % (
            _place(decoded, decoded.index("\0")), _WAY_BACK))
    if not decoded.strip(_BLANKS):
        raise HubDetailsError("the file is empty; " + _WAY_BACK)
    if not decoded.lstrip(_BLANKS).startswith("<"):
        raise HubDetailsError("not XML: in %s stands something else than the \"<\" that such a file begins with; %s" % (
            _place(decoded, len(decoded) - len(decoded.lstrip(_BLANKS))), _WAY_BACK))
    text = _Text(decoded)
    chars = text.url_chars()
    url, where = "".join(char.char for char in chars), text.place(chars[0].start)
    _parts(url, "the Url in %s is " % where)
    mark = len(_mark(data)[0])
    begin = mark + len(_encoded(text.utf8[:chars[0].start], encoding))
    span = begin, begin + len(_encoded(text.utf8[chars[0].start:chars[-1].end], encoding))
    return HubDetails(url, port_of(url), span, encoding), text


class _Text:
    """One pass over the text: where the live Urls are, what is in them, and what a diff must not show."""

    def __init__(self, text):
        self.utf8 = text.encode("utf-8")
        self.stack, self.urls, self.similar, self.settings = [], [], None, {}
        # The text as a diff may show it, up to `copied`; `open`: where something begins that may have to be masked, and how.
        self.shown, self.copied, self.open = bytearray(), 0, None
        self.piece, self.cdata, self.query = None, False, False
        self.parser = expat.ParserCreate("utf-8")
        for name in ("StartElement", "EndElement", "CharacterData", "Comment", "ProcessingInstruction", "StartCdataSection",
                     "EndCdataSection", "StartDoctypeDecl"):
            setattr(self.parser, name + "Handler", getattr(self, "_" + name))
        try:
            self.parser.Parse(self.utf8, True)
        except expat.ExpatError as err:
            raise HubDetailsError(self._sentence(err.code))
        self._ends_at(len(self.utf8))
        self.shown += self.utf8[self.copied:]
        self._check_urls()

    def place(self, index):
        return _place(self.utf8[:index].decode("utf-8", "replace"), None)

    # --- what Expat tells, in the order of the file

    def _at(self):
        """The place of this event, where whatever came before it ends."""
        index = self.parser.CurrentByteIndex
        self._ends_at(index)
        return index

    def _ends_at(self, index):
        if self.piece:
            self._end_piece(index)
        if self.open:
            start, masked = self.open
            self.open = None
            self.shown += self.utf8[self.copied:start] + masked(self.utf8[start:index])
            self.copied = index

    def _StartDoctypeDecl(self, name, system, public, internal):
        at = self.utf8.rfind(b"<!DOCTYPE", 0, self.parser.CurrentByteIndex + 9)
        raise HubDetailsError("there is a document type (<!DOCTYPE) in %s, which no HubDetails.xml has; it was not read any "
                              "further. Remove it, or %s" % (self.place(at), _WAY_BACK))

    def _StartElement(self, name, attributes):
        index = self._at()
        if not self.stack and name != ROOT:
            raise HubDetailsError("not a HubDetails.xml: its root, in %s, is another element than <%s>; name the agent's file"
                                  % (self.place(index), ROOT))
        if len(self.stack) >= DEPTH_LIMIT:
            raise HubDetailsError("more than %d elements stand inside of each other in %s, where two were expected: it is no "
                                  "HubDetails.xml; %s" % (DEPTH_LIMIT, self.place(index), _WAY_BACK))
        if self._in_live_url():
            self.urls[-1]["child"] = index
        self.stack.append((name, index))
        if len(self.stack) == 2 and name == "Url":
            self.urls.append(dict(at=index, chars=[], child=None))
        elif len(self.stack) == 2 and name.lower() == "url":
            self.similar = index
        elif len(self.stack) == 2 and name in _WAY:
            self.settings.setdefault(name, []).append([])
        if attributes:
            self.open = index, _masked_attributes

    def _EndElement(self, name):
        self._at()
        self.stack.pop()

    def _Comment(self, comment):
        self.open = self._at(), _masked_comment

    def _ProcessingInstruction(self, target, instruction):
        self.open = self._at(), _masked_instruction

    def _StartCdataSection(self):
        self.cdata = True
        self._text_run()

    def _EndCdataSection(self):
        self.cdata = False
        if self.piece:
            self._end_piece(self.parser.CurrentByteIndex)

    def _CharacterData(self, characters):
        self._text_run()
        if self._in_live_url():
            self.piece = self.parser.CurrentByteIndex, characters, self.cdata
        elif len(self.stack) == 2 and self.stack[1][0] in _WAY:
            self.settings[self.stack[1][0]][-1].append(characters)

    def _in_live_url(self):
        return len(self.stack) == 2 and self.stack[1][0] == "Url"

    def _text_run(self):
        """Text and CDATA that follow each other are one run, masked as one, so that not even its parts show."""
        if self.piece:
            self._end_piece(self.parser.CurrentByteIndex)
        if self.open and self.open[1] in (_masked_text, self._shown_url):
            return
        index = self._at()
        if self._in_live_url():
            self.open = index, self._shown_url
        elif not (len(self.stack) == 2 and self.stack[1][0] in SHOWN):
            self.open = index, _masked_text

    def _shown_url(self, raw):
        """A run of the text of a Url, up to where its query or fragment begins; these may go on behind a comment."""
        if self.query:
            return _masked_text(raw)
        cdata = False
        for piece in _SPELLED.finditer(raw):
            spelled = piece.group()
            if spelled == b"<![CDATA[":
                cdata = True
            elif spelled == b"]]>":
                cdata = False
            elif _character(spelled, cdata) in ("?", "#"):
                self.query = True
                return raw[:piece.start()] + _character(spelled, cdata).encode("ascii") + MASK.encode("ascii") + (
                    b"]]>" if cdata else b"")
        return raw

    def _end_piece(self, end):
        start, characters, cdata = self.piece
        self.piece = None
        chars = self.urls[-1]["chars"]
        if len(chars) + len(characters) > URL_LIMIT:
            raise HubDetailsError("the Url in %s has more than %d characters, blanks included; correct it by hand"
                                  % (self.place(self.urls[-1]["at"]), URL_LIMIT))
        if len(characters) == 1:
            # A reference such as &amp;, or a line break of two bytes.
            chars.append(_Char(characters, start, end, cdata))
            return
        for char in characters:
            size = len(char.encode("utf-8"))
            chars.append(_Char(char, start, start + size, cdata))
            start += size

    # --- what follows from it

    def _sentence(self, code):
        index = self.parser.ErrorByteIndex
        where = self.place(index)
        if code in _CUT_SHORT:
            # Something that was begun and has no end; Expat names the place where it begins.
            what = " inside <%s> of %s" % (self._name(), self.place(self.stack[-1][1])) if self.stack else ""
            return "the file is cut short: it ends in %s%s; %s" % (self.place(len(self.utf8)), what, _WAY_BACK)
        if code == _MISMATCH:
            # Expat points at the name in the tag.
            where = self.place(self.utf8.rfind(b"</", 0, index + 1))
            return ("the end tag in %s does not fit: the element opened last is <%s> in %s; correct it by hand, or %s"
                    % (where, self._name(), self.place(self.stack[-1][1]), _WAY_BACK))
        if code == _ENTITY:
            return ("there is an entity in %s that nothing defines; write an & that is meant as such as &amp;" % where)
        if code == _JUNK:
            return "there is something after the end of <%s>, in %s; remove it, or %s" % (ROOT, where, _WAY_BACK)
        if code == _DUPLICATE:
            return "an element in %s has the same attribute twice; remove one" % where
        if code == _INVALID:
            return ("not well-formed XML: what stands in %s can't stand there (an & is written as &amp;, a < as &lt;); correct "
                    "it by hand, or %s" % (where, _WAY_BACK))
        return "not well-formed XML in %s (%s); correct it by hand, or %s" % (where, expat.ErrorString(code), _WAY_BACK)

    def _name(self):
        # Broken text may make a piece of a password look like an element's name.
        return self.stack[-1][0] if self.stack[-1][0] in KNOWN else "..."

    def _check_urls(self):
        if not self.urls:
            similar = "" if self.similar is None else ", the one in %s is spelled in another case" % self.place(self.similar)
            raise HubDetailsError("there is no <Url> directly below <%s>%s; write one with the hub's address, as the agent's "
                                  "installation does" % (ROOT, similar))
        if len(self.urls) > 1:
            places = "; ".join(self.place(url["at"]) for url in self.urls[:5])
            raise HubDetailsError("there are %d <Url> directly below <%s> (%s), so there is no telling which one the agent "
                                  "takes; remove all but one" % (len(self.urls), ROOT, places))
        url = self.urls[0]
        if url["child"] is not None:
            raise HubDetailsError("the <Url> in %s holds another element, in %s, where only text was expected; correct it by hand"
                                  % (self.place(url["at"]), self.place(url["child"])))
        if not any(char.char not in _BLANKS for char in url["chars"]):
            raise HubDetailsError("the <Url> in %s is empty; write the hub's address into it, as the agent's installation does"
                                  % self.place(url["at"]))

    def setting(self, name):
        """The text of the one element of that name; empty for none."""
        found = {"".join(pieces).strip(_BLANKS) for pieces in self.settings.get(name, [])}
        if len(found) > 1:
            raise HubDetailsError("there are %d <%s> directly below <%s> that say different things; remove all but one"
                                  % (len(self.settings[name]), name, ROOT))
        return found.pop() if found else ""

    def url_chars(self):
        """The characters of the URL, without the blanks around it."""
        chars = self.urls[0]["chars"]
        places = [place for place, char in enumerate(chars) if char.char not in _BLANKS]
        return chars[places[0]:places[-1] + 1]


def _character(spelled, cdata):
    """The character that a reference stands for; what is none stands for itself."""
    number = re.match(br"&#(?:[xX]([0-9A-Fa-f]+)|([0-9]+));", spelled)
    if cdata or not number:
        return spelled.decode("latin-1")
    code = int(number.group(1), 16) if number.group(1) else int(number.group(2))
    return chr(code) if code < 128 else ""


def _masked_text(raw):
    text = raw.strip(_BLANKS.encode("ascii"))
    if not text:
        return raw
    at = raw.index(text)
    return raw[:at] + MASK.encode("ascii") + raw[at + len(text):]


def _masked_comment(raw):
    # Outside of the root, blanks are no event of their own: they come along.
    # A comment may begin with ">", as in "<!--> x -->": its end is looked for behind its opening.
    return b"<!-- %s " % MASK.encode("ascii") + raw[raw.index(b"-->", len(b"<!--")):]


def _masked_instruction(raw):
    return b"<?hidden %s" % MASK.encode("ascii") + raw[raw.index(b"?>"):]


def _is_namespace(name):
    return name == b"xmlns" or name.startswith(b"xmlns:")


def _masked_attributes(raw):
    # Names of namespaces are no secrets, and stand in every file that .NET has written.
    return _ATTRIBUTE.sub(lambda found: found.group() if _is_namespace(found.group(1)) else
                          found.group(1) + found.group(2) + b'"%s"' % MASK.encode("ascii"), raw)


def _parts(url, what):
    """The match of a URL that an agent can have; `what` begins the sentence if it can't.  Never quotes the URL."""
    hand = "; write it as https://HOST:PORT/api/"
    if not isinstance(url, str) or not url:
        raise HubDetailsError(what + "empty" + hand)
    if len(url) > URL_LIMIT:
        raise HubDetailsError(what + "longer than %d characters%s" % (URL_LIMIT, hand))
    if "@" in url:
        raise HubDetailsError(what + "one with an @ in it, as if a user name or a password stood before the host, where every "
                              "log shows it; take that out, the agent has <Username> and <Password> for it")
    bad = next((number for number, char in enumerate(url, 1)
                if char in "<>\"\\" or unicodedata.category(char)[0] in "CZ"), None)
    if bad:
        raise HubDetailsError(what + "one with a blank, or something else that no URL has, as its character %d%s" % (bad, hand))
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url)
    if not scheme:
        raise HubDetailsError(what + "not an absolute URL: it does not begin with https:// or http://" + hand)
    if scheme.group(1).lower() not in DEFAULT_PORTS:
        raise HubDetailsError(what + "one of another kind than https:// or http://" + hand)
    parts = _URL.match(url)
    if not parts:
        raise HubDetailsError(what + "one whose host or port can't be read (an IPv6 address stands in brackets, a port is a "
                              "number)" + hand)
    if parts.group(3):
        try:
            parse_port(parts.group(3), "its port")
        except PortError:
            # Its sentence quotes what stands there, which may be anything.
            raise HubDetailsError(what + "one that can't be used: its port is no number from 1 to 65535" + hand)
    return parts


def _splice(text, url):
    """(start, end, new) in the UTF-8 text: the characters that have to change, and what comes in their place."""
    chars = text.url_chars()
    old = "".join(char.char for char in chars)
    if old == url:
        return chars[0].start, chars[0].start, b""
    head = next((number for number, (one, other) in enumerate(zip(old, url)) if one != other), min(len(old), len(url)))
    rest = min(len(old), len(url)) - head
    tail = next((number for number in range(rest) if old[-1 - number] != url[-1 - number]), rest)
    gone, new = chars[head:len(chars) - tail], url[head:len(url) - tail]
    if any(one.end != other.start for one, other in zip(gone, gone[1:])):
        raise HubDetailsError("the text of the <Url> in %s is in pieces, with a comment or the border of a CDATA section between "
                              "them; write it in one piece" % text.place(text.urls[0]["at"]))
    if gone:
        start, end, cdata = gone[0].start, gone[-1].end, gone[0].cdata
    else:
        beside = chars[head - 1] if head else chars[0]
        start = end = beside.end if head else beside.start
        cdata = beside.cdata
    return start, end, (new if cdata else new.replace("&", "&amp;")).encode("utf-8")
