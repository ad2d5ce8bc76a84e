# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
r"""BigFix agent settings (besclient.config, besrelay.config, besserver.config), edited without losing a byte.

Format, as HCL's pages on client settings show it and as the agent writes it: a section for each setting,

    [Software\BigFix\EnterpriseClient\Settings\Client\__RelayServer1]
    value                          = http://relay1.example.test:52311/bfmirror/downloads/
    effective date                 = Thu,%2001%20Jan%202015%2000:00:00%20+0000

Values are percent-encoded; names of sections and settings compare without regard to case.  All other sections of the
agent stay as they are.  ``flat=True`` is the dialect of clientsettings.cfg: lines ``NAME=VALUE`` and nothing else.
"""

import codecs
import re
import unicodedata
from collections import OrderedDict, namedtuple
from urllib.parse import quote, unquote_to_bytes

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import MASK, shown_url
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.setting_names import ADDRESS_SETTINGS, BESIDE, SHOWN

PREFIX = b"Software\\BigFix\\EnterpriseClient\\Settings\\Client"

_BLANKS = b" \t\r\n"
_LITERAL = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"  # everything printable in ASCII but the blank and the percent sign
_AGENT_LAYOUT = (b"value".ljust(31), b" ")  # what the agent itself writes left and right of the "="

# The words of a value.  The file's percent-encoding may hide any character, so both spellings count everywhere.
_SEPARATORS = re.compile(br"((?:[;,| \t]|%(?:3b|2c|7c|20|09))+)", re.I)
_ONLY_BLANKS = re.compile(br"(?:[ \t]|%20|%09)+")
_URL = re.compile(br"""
    https?(?: : | %3a )(?: / | %2f ){2}
    (?: (?: (?! %2f | %3f | %23 ) [^/?#\s] )* (?: @ | %40 ) )?                          # user:password@
    (?: (?: \[ | %5b ) [0-9a-z:.%_~-]+ (?: \] | %5d )                                  # [IPv6]
      | (?: [^/?#:@%\[\]\s] | % (?! 2f | 3f | 23 | 3a | 40 | 5b | 5d ) )+ )            # name or IPv4
    (?: (?: : | %3a ) ([0-9]*) )?
    (?= [/?#] | % (?: 2f | 3f | 23 ) | \Z )""", re.I | re.X)
# An address as some write it into a list of relays, without a scheme.
_BARE = re.compile(r"(?://)?(?:\[[0-9A-Fa-f:.%_~-]+\]|[\w.-]+):([0-9]{1,5})(?:/\S*)?")

# What of a file may be shown beside values: a section of the agent, the name of a setting, the date as the agent writes it.
_HEADER = re.compile(r"\[(software\\bigfix[^\[\]]*)\]", re.I)
_SECTION = re.compile(br"[ \t]*\[software\\bigfix", re.I)
_NAME = re.compile(r"[\w .()-]{1,200}")
_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4}")
_BETWEEN_WORDS = re.compile(r"([;,| \t]+)")
_SHOWN_WORD = re.compile(r"(?:\[[0-9A-Fa-f:.%_~-]+\]|[\w.-]+)(?::[0-9]{1,5})?")


class SettingsError(EngineError):
    """The settings cannot be read without guessing, or what was asked cannot be written into them."""


SettingsFile = namedtuple("SettingsFile", "settings")
# One `key = text` line: its number, the span of the text, the end of the line, the bytes left and right of the "=".
_Field = namedtuple("_Field", "line start end stop layout")
# One setting: first and last byte of what removing it takes away, the end of its header line, its fields.
_Section = namedtuple("_Section", "name prefix start head stop values dates")


def parse(data, flat=False):
    settings = OrderedDict()
    for sections in _by_name(data, flat).values():
        for field in _values(sections)[:1]:
            settings[sections[0].name] = _decoded(data, field)
    return SettingsFile(settings)


def written(entries):
    """(name, value, effective date or None) of each setting -> bytes of a file that holds them, as the agent writes it.

    For settings that lie elsewhere, as in the registry of Windows, so that they are read, edited and shown by the same rules.
    """
    found = [b"[" + PREFIX + b"]"]
    for name, value, date in entries:
        found += [b"", b"[" + PREFIX + b"\\" + name.encode("utf-8", "surrogatepass") + b"]"]
        for key, text in ((b"value", value), (b"effective date", date)):
            if text is not None:
                found.append(_key_line(key, _AGENT_LAYOUT, quote(text, safe=_LITERAL, errors="surrogatepass").encode("ascii")))
    return b"\n".join(found) + b"\n"


def entries(data):
    """Lower-case name -> (name, value, effective date or None), of the first section of each name."""
    found = OrderedDict()
    for lower, sections in _by_name(data, False).items():
        value, date = ([_decoded(data, field) for field in fields][:1] or [None] for fields in (
            _values(sections), [field for section in sections for field in section.dates]))
        found[lower] = (sections[0].name, value[0], date[0])
    return found


def with_settings(data, changes, effective_date, flat=False):
    """Set or remove (None) settings.  Whatever already holds its value is left alone, effective date included."""
    known = _by_name(data, flat)
    date = None if flat else _encoded("the effective date", effective_date)
    layout = next((field.layout for sections in known.values() for field in _values(sections)), _AGENT_LAYOUT)
    prefix = next((sections[0].prefix for sections in known.values()), PREFIX)
    # A CR at the very end would make a CRLF with the LF put after it; with a CRLF it stays what it is.
    eol = b"\r\n" if data[:data.find(b"\n") + 1].endswith(b"\r\n") or data.endswith(b"\r") else b"\n"
    splices, appended, seen = [], [], set()
    for name, text in changes.items():
        _check_name(name, flat)
        if name.lower() in seen:
            raise SettingsError("the setting %s is asked for twice, in different case; ask once" % name)
        seen.add(name.lower())
        sections = known.get(name.lower(), [])
        if text is None:
            splices.extend(_removal(data, section, flat) for section in sections)
            continue
        raw = _encoded("the value of %s" % name, text)
        if not sections:
            header = b"[" + prefix + b"\\" + name.encode("utf-8") + b"]"
            appended += ([name.encode("utf-8") + b"=" + raw] if flat else
                         [b"", header, _key_line(b"value", layout, raw), _key_line(b"effective date", layout, date)])
        elif [_decoded(data, field) for field in _values(sections)[:1]] != [text]:
            for section in sections:
                splices.extend(_update(data, section, raw, date, layout, eol))
    result = _spliced(data, splices)
    if result.endswith(b"\n") and not data.endswith(b"\n"):  # the last section is gone; its file ended without newline
        result = result[:-2] if result.endswith(b"\r\n") else result[:-1]
    return result + _lines_put(result, len(result), appended, eol)


def with_port_rewritten(data, old, new, flat=False):
    """Move the port of the URLs among the values, and of nothing that merely looks like them."""
    if int(old) == int(new):
        raise SettingsError("the old and the new port are both %d; name two different ports" % int(old))
    old, new = b"%d" % int(old), b"%d" % int(new)
    splices, names = [], []
    for sections in _by_name(data, flat).values():
        moved = []
        for field in _values(sections):
            raw = data[field.start:field.end]
            value = _moved(raw, old, new) if old in raw else raw
            moved += [(field.start, field.end, value)] if value != raw else []
        splices += moved
        names += [sections[0].name] if moved else []
    return _spliced(data, splices), names


def bare_addresses(data, port=None, flat=False):
    """Names of settings that list relays or servers, one of them as HOST:PORT without the http:// of a URL.

    `port`: the one that counts; without it any, in settings that are known to name relays.  Whether agents read that spelling
    is not known, so it is for a person to judge.
    """
    names = []
    for lower, sections in _by_name(data, flat).items():
        known = lower in {name.lower() for name in ADDRESS_SETTINGS}
        for field in _values(sections)[:1]:
            words = [word for word in _BETWEEN_WORDS.split(_decoded(data, field))[::2] if word]
            bare = [_BARE.fullmatch(word) for word in words]
            if not known and not all(one or _is_url(word) for one, word in zip(bare, words)):
                continue
            ports = [int(one.group(1)) for one in bare if one]
            if port in ports or (port is None and known and ports):
                names.append(shown_name(sections[0].name))
    return names


def named_beside(data, port, flat=False):
    """(name, product) of the settings of WebUI and Web Reports in whose value the port stands as a number by itself."""
    number = re.compile(r"(?<![0-9])%d(?![0-9])" % port)
    found = []
    for lower, sections in _by_name(data, flat).items():
        products = [product for prefix, product in BESIDE if lower.startswith(prefix.lower())]
        if products and any(number.search(_decoded(data, field)) for field in _values(sections)[:1]):
            found.append((shown_name(sections[0].name), products[0]))
    return found


def _is_url(word):
    return bool(_URL.match(word.encode("utf-8", "surrogatepass")))


def shown_name(name):
    """A name of a setting; of what no setting is called by, nothing."""
    return name if _NAME.fullmatch(name) else MASK


def shown_value(name, text, ports=()):
    """The value of a setting as far as it may be shown: what is known to be harmless, without the secrets of URLs.

    Of every other value the places are shown where a URL in it has one of `ports`, and nothing else.
    """
    if name.lower() in SHOWN:
        words = _BETWEEN_WORDS.split(text)
        words[::2] = [word if not word or _SHOWN_WORD.fullmatch(word) else shown_url(word) for word in words[::2]]
        if MASK not in words:
            return "".join(words)
    raw = text.encode("utf-8", "surrogatepass")
    spans = [raw[start:end].decode("ascii") for start, end in port_spans(raw)]
    return MASK + "".join(":%s%s" % (digits, MASK) for digits in spans if digits in {"%d" % port for port in ports if port})


def shown_settings(settings, ports=()):
    return {shown_name(name): text if text is None else shown_value(name, text, ports) for name, text in settings.items()}


def is_config(data):
    """Whether there is a section of the agent in it, in a file that is broken too."""
    return any(_SECTION.match(line) for _number, _start, line in lines(data))


def redacted(data, flat=False, ports=()):
    """The same bytes for a diff.  Judged line by line, by what is known to be harmless: a broken file gives no more away."""
    if b"\0" in data:  # not lines of text: no telling where a secret stands
        return MASK.encode()
    out, name = [data[:_after_bom(data)]], None
    for _number, _start, line in lines(data):
        body = line.strip(_BLANKS)
        if body.startswith(b"[") and not flat:
            header = _HEADER.fullmatch(_text(body))
            parts = header.group(1).rpartition("\\") if header else ("", "", "")
            name = parts[2] if parts[0].lower().encode("utf-8") == PREFIX.lower() else None
            shown = header and all(_NAME.fullmatch(part) for part in header.group(1).split("\\"))
        elif body:
            shown = False
            key, equals, rest = line.partition(b"=")
            word = _text(key.strip(_BLANKS)).lower()
            of = name if word == "value" else None
            if flat and word in SHOWN:
                of = word
            if equals and of is not None:
                line, shown = key + equals + _shown_raw(of, rest, ports), True
            elif equals and not flat and word == "effective date":
                shown = _DATE.fullmatch(_text(unquote_to_bytes(rest.strip(_BLANKS))))
        out.append(line if not body or shown else line.replace(body, MASK.encode()))
    return b"".join(out)


def _shown_raw(name, rest, ports):
    """What follows a "=" in the file, as it may be shown."""
    raw = rest.strip(_BLANKS)
    quote_mark = raw[:1] if len(raw) > 1 and raw[:1] == raw[-1:] and raw[:1] in (b'"', b"'") else b""
    text = _text(unquote_to_bytes(raw[len(quote_mark):len(raw) - len(quote_mark)]))
    shown = shown_value(name, text, ports)
    if shown == text:
        return rest
    at = rest.find(raw) if raw else len(rest.rstrip(b"\r\n"))
    return rest[:at] + quote_mark + shown.encode("utf-8", "surrogatepass") + quote_mark + rest[at + len(raw):]


def _after_bom(data):
    return len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0


def lines(data):
    """Number, offset and bytes of each line, ending included; a byte order mark is no part of the first."""
    number, start = 0, _after_bom(data)
    while start < len(data):
        stop = data.find(b"\n", start) + 1 or len(data)
        number += 1
        yield number, start, data[start:stop]
        start = stop


def _by_name(data, flat):
    """Lower-case name -> the sections of that name, all of which hold the same value."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data:
        raise SettingsError("the file holds NUL bytes or a UTF-16 byte order mark, which the agent never writes; "
                            "save it as plain text")
    if not data[_after_bom(data):].strip(_BLANKS):
        raise SettingsError("the file is empty; restore it from a backup, or let the agent write it again")
    known = OrderedDict()
    for section in (_flat_sections if flat else _sections)(data):
        known.setdefault(section.name.lower(), []).append(section)
    for sections in known.values():
        fields, name = _values(sections), sections[0].name
        for field in fields[1:]:
            first, other = _decoded(data, fields[0]), _decoded(data, field)
            if first != other:
                raise SettingsError('the setting %s has two values: "%s" in line %d, "%s" in line %d; remove one' % (
                    shown_name(name), shown_value(name, first), fields[0].line, shown_value(name, other), field.line))
    return known


def _sections(data):
    found, current, agent = [], None, False
    for number, start, line in lines(data):
        body = line.strip(_BLANKS)
        if body.startswith(b"["):
            header = body[1:].partition(b"]")[0]
            agent = agent or header.lower().startswith(b"software\\bigfix")
            prefix, _backslash, name = header.rpartition(b"\\")
            current = None
            if name and b"]" in body and b"[" not in name and prefix.lower() == PREFIX.lower():
                head = start + len(line)
                current = _Section(_text(name), prefix, start, head, head, [], [])
                found.append(current)
        elif current and body and not body.startswith((b"#", b";")):
            # Comments after the last line of a section belong to whatever follows it.
            current = found[-1] = current._replace(stop=start + len(line))
            key = line.partition(b"=")[0].strip(_BLANKS).lower()
            if b"=" in line and key in (b"value", b"effective date"):
                (current.values if key == b"value" else current.dates).append(_field(number, start, line))
    if not agent:
        raise SettingsError("not a settings file of the agent: no section begins with [Software\\BigFix; "
                            "name besclient.config, besrelay.config or besserver.config")
    return found


def _flat_sections(data):
    for number, start, line in lines(data):
        body = line.strip(_BLANKS)
        if not body or body.startswith((b"#", b";")):
            continue
        name, equals, _rest = body.partition(b"=")
        if not equals or not name.strip(_BLANKS):
            raise SettingsError("line %d is not of the form NAME=VALUE; correct it, or put # in front of it" % number)
        stop = start + len(line)
        yield _Section(_text(name.strip(_BLANKS)), PREFIX, start, stop, stop, [_field(number, start, line)], [])


def _field(number, start, line):
    key, _equals, rest = line.partition(b"=")
    gap = rest[:len(rest) - len(rest.lstrip(b" \t"))]
    text = rest.strip(_BLANKS)
    begin = start + len(key) + 1 + len(gap)
    usual = gap if text or gap else key[len(key.rstrip()):][:1]  # "value =" says nothing of what follows a "="
    return _Field(number, begin, begin + len(text), start + len(line), (key, usual))


def _values(sections):
    return [field for section in sections for field in section.values]


def _text(raw):
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _decoded(data, field):
    return _text(unquote_to_bytes(data[field.start:field.end]))


def _encoded(what, text):
    if not isinstance(text, str):
        raise SettingsError("%s is not text; put it in quotes" % what)
    # Cc are the control characters, Zl and Zp Unicode's own line breaks, Cs what UTF-8 cannot write.
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in text):
        raise SettingsError("%s holds a line break or a control character; a setting is one line of text" % what)
    return quote(text, safe=_LITERAL).encode("ascii")


def _check_name(name, flat):
    _encoded("the name %r of a setting" % (name,), name)
    if not name or name != name.strip() or any(char in name for char in "[]\\"):
        raise SettingsError("%r is no name of a setting: it is empty, begins or ends with a blank, or holds "
                            "[, ] or a backslash; correct it" % name)
    if flat and ("=" in name or name[0] in "#;"):
        raise SettingsError("%r is no name of a setting for a file of NAME=VALUE lines: it holds = or begins like a "
                            "comment; correct it" % name)


def _key_line(key, layout, raw):
    """A line in the layout (indentation, column of the "=", blanks after it) of another."""
    before, gap = layout
    indent = before[:len(before) - len(before.lstrip())]
    blanks = before[len(before.rstrip()):]
    if b"\t" in blanks or not blanks:
        return indent + key + blanks + b"=" + gap + raw
    return (indent + key).ljust(len(before) - 1) + b" =" + gap + raw


def _update(data, section, raw, date, layout, eol):
    splices = [(field.start, field.end, raw) for field in section.values]
    splices += [(field.start, field.end, date) for field in section.dates]
    fields = section.values + section.dates
    layout = fields[0].layout if fields else layout
    missing = [] if section.values else [_key_line(b"value", layout, raw)]
    missing += [] if section.dates or date is None else [_key_line(b"effective date", layout, date)]
    at = section.values[-1].stop if section.values else section.head
    return splices + ([(at, at, _lines_put(data, at, missing, eol))] if missing else [])


def _lines_put(data, at, texts, eol):
    """Lines as the bytes to put in at an offset; after a last line without newline, they end without one."""
    text = eol.join(texts)
    if not texts:
        return b""
    return eol + text if at > _after_bom(data) and data[at - 1:at] != b"\n" else text + eol


def _removal(data, section, flat):
    """Takes one blank line along: the one before, which appending has put there, else the one after."""
    start, stop = section.start, section.stop
    if not flat:
        before = max(data.rfind(b"\n", 0, max(start - 1, 0)) + 1, _after_bom(data))
        after = data.find(b"\n", stop) + 1
        if before < start and not data[before:start].strip(_BLANKS):
            start = before
        elif after and not data[stop:after].strip(_BLANKS):
            stop = after
    return start, stop, b""


def _spliced(data, splices):
    out, at = [], 0
    for start, end, new in sorted(splices):  # removals may share the blank line between them
        out += [data[at:start], new]
        at = end
    return b"".join(out + [data[at:]])


def port_spans(raw):
    """(start, end) of the ports of a value that is a URL or a list of them; none of anything else."""
    parts = _SEPARATORS.split(raw)  # words at even places, what separates them at odd ones
    urls = [_URL.match(word) for word in parts[::2]]
    for place, separator in enumerate(parts[1::2]):
        between = parts[2 * place] and parts[2 * place + 2] and _ONLY_BLANKS.fullmatch(separator)
        if between and not (urls[place] and urls[place + 1]):
            return []  # words side by side that are not all URLs: free text
    spans, at = [], 0
    for place, part in enumerate(parts):
        url = urls[place // 2] if place % 2 == 0 else None
        if url and url.group(1) is not None:
            spans.append((at + url.start(1), at + url.end(1)))
        at += len(part)
    return spans


def _moved(raw, old, new):
    return _spliced(raw, [(start, end, new) for start, end in port_spans(raw) if raw[start:end] == old])
