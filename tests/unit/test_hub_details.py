# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import codecs
import hashlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._change_tracker import hub_details as engine
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.tests.unit import growth

# As Netwrix's pages show it, after the agent's first start.
FILE = """<?xml version="1.0" encoding="utf-8"?>
<HubDetails xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">
  <Url>https://hub.example.test/api/</Url>
  <Username>agent-7Qz</Username>
  <Password />
  <E1>ciphertext-9Kw==</E1>
  <Proxy>http://proxyuser-1:proxypass-2@proxy.example.test:3128</Proxy>
  <ProxyDomain>PROXYDOMAIN-3</ProxyDomain>
  <ProxyUsername>proxyuser-4</ProxyUsername>
  <ProxyPassword>proxypass-5</ProxyPassword>
  <UseDefaultProxy>false</UseDefaultProxy>
  <NamePrefix>PRE-</NamePrefix>
  <NameSuffix></NameSuffix>
  <Thumbprint>AB12CD34</Thumbprint>
</HubDetails>
"""
SECRETS = ("agent-7Qz", "ciphertext-9Kw", "proxyuser-1", "proxypass-2", "PROXYDOMAIN-3", "proxyuser-4", "proxypass-5", "AB12CD34")
URL = "<Url>https://hub.example.test/api/</Url>"


def hub(url, before="", after=""):
    """The smallest file with that markup as the text of the Url, as bytes of UTF-8."""
    return ("<HubDetails>%s<Url>%s</Url>%s</HubDetails>" % (before, url, after)).encode("utf-8")


def sentence(data, port=8443, url=None):
    with pytest.raises(EngineError) as refused:
        engine.with_port(data, port) if url is None else engine.with_url(data, url)
    return str(refused.value)


# --- reading and writing

@pytest.mark.parametrize("text, port, url", [
    ("https://hub/api", 443, "https://hub/api"),
    ("https://hub/api/", 443, "https://hub/api/"),
    ("http://hub/api/", 80, "http://hub/api/"),
    ("HTTPS://HUB.Example.Test:8443/api", 8443, "HTTPS://HUB.Example.Test:8443/api"),
    ("https://hub", 443, "https://hub"),
    ("https://hub?x=1", 443, "https://hub?x=1"),
    ("https://hub:/api/", 443, "https://hub:/api/"),
    ("https://hub:0443/api/", 443, "https://hub:0443/api/"),
    ("https://192.0.2.7:444/api/", 444, "https://192.0.2.7:444/api/"),
    ("https://[2001:db8::1]/api/", 443, "https://[2001:db8::1]/api/"),
    ("https://[fe80::1%25eth0]:8443/api/", 8443, "https://[fe80::1%25eth0]:8443/api/"),
    ("https://b\xfccher.example.test/api/", 443, "https://b\xfccher.example.test/api/"),
    ("  \r\n\thttps://hub/api/\n ", 443, "https://hub/api/"),
    ("https&#x3a;//hub&#58;4&#x34;3/?a&amp;b", 443, "https://hub:443/?a&b"),
    ("<![CDATA[https://hub:81/?a&b]]>", 81, "https://hub:81/?a&b"),
    (" <!-- https://old/ --> https://hub/api/ <?note?> ", 443, "https://hub/api/"),
    ("https://hu<![CDATA[b:4]]>43/", 443, "https://hub:443/"),
])
def test_the_url_is_read_as_the_agent_reads_it(text, port, url):
    data = hub(text)
    found = engine.parse(data)
    assert (found.url, found.port) == (url, port)
    begin, end = found.span
    assert data[:begin].startswith(b"<HubDetails><Url>") and data[end:].endswith(b"</Url></HubDetails>")
    assert (data[begin:begin + 1].lower(), data[begin:end].strip()) == (b"h", data[begin:end])


@pytest.mark.parametrize("before, port, after", [
    ("https://hub/api/", 8443, "https://hub:8443/api/"),
    ("https://hub/api", 8443, "https://hub:8443/api"),
    ("https://hub", 8443, "https://hub:8443"),
    ("https://hub?x=:1#:2", 8443, "https://hub:8443?x=:1#:2"),
    ("https://hub:8443/api/", 443, "https://hub:443/api/"),
    ("http://hub:8080/api/", 80, "http://hub:80/api/"),
    ("https://hub/api/", 443, "https://hub/api/"),
    ("http://hub/api/", 443, "http://hub:443/api/"),
    ("https://hub:/api/", 8443, "https://hub:8443/api/"),
    ("HTTPS://Hub:443/API", 8443, "HTTPS://Hub:8443/API"),
    ("https://443.example.test:443/443", 8443, "https://443.example.test:8443/443"),
    ("https://[::443]:443/", 8443, "https://[::443]:8443/"),
    ("https://[2001:db8::1]/api/", 8443, "https://[2001:db8::1]:8443/api/"),
    ("https://b\xfccher:443/", 1, "https://b\xfccher:1/"),
    ("\n\t https://hub/api/ \r\n", 65535, "\n\t https://hub:65535/api/ \r\n"),
    ("https&#x3a;//hub&#58;443/?a&amp;b", 8443, "https&#x3a;//hub&#58;8443/?a&amp;b"),
    ("https&#x3a;//hu&#98;/?a&amp;b", 8443, "https&#x3a;//hu&#98;:8443/?a&amp;b"),
    ("<![CDATA[https://hub/?a&b]]>", 8443, "<![CDATA[https://hub:8443/?a&b]]>"),
    ("https://hub<![CDATA[/api/]]>", 8443, "https://hub:8443<![CDATA[/api/]]>"),
    ("<![CDATA[https://hub]]>/api/", 8443, "<![CDATA[https://hub:8443]]>/api/"),
    ("https://hub<!-- :443 -->/api/", 8443, "https://hub:8443<!-- :443 -->/api/"),
    ("<!--x-->https://hub:443/api/<?y?>", 55000, "<!--x-->https://hub:55000/api/<?y?>"),
])
def test_only_the_port_moves(before, port, after):
    # What stands around it is decoys: none of these is the live Url.
    around = ("<!-- <Url>https://no:443/</Url> --><Deep><Url>https://no:443/</Url></Deep>"
              "<X><![CDATA[<Url>https://no:443/</Url>]]></X>",
              "<?old <Url>https://no:443/</Url>?><E1>ciphertext</E1><url>https://no:443/</url><Urls>https://no:443/</Urls>")
    assert engine.with_port(hub(before, *around), port) == hub(after, *around)
    assert engine.with_port(hub(after, *around), port) == hub(after, *around)


@pytest.mark.parametrize("before, url, after", [
    ("https://hub/api/", "https://hub2:8443/api", "https://hub2:8443/api"),
    ("https://hub/api/", "http://hub/api/", "http://hub/api/"),
    ("https://hub/api/", "https://hub/api/?a=1&b=2", "https://hub/api/?a=1&amp;b=2"),
    ("<![CDATA[https://hub/api/]]>", "https://hub/?a&b", "<![CDATA[https://hub/?a&b]]>"),
    ("https://hub/api/", "HTTP://a/?https://hub/api/", "HTTP://a/?https://hub/api/"),
    (" https://hub/api/ ", "https://hub/api/", " https://hub/api/ "),
    ("https&#x3a;//hub/api/", "https://bub/api/", "https&#x3a;//bub/api/"),
    ("<!-- a -->https://hub/<!-- b -->api/", "https://hub/<!-- b -->apis/", None),
    ("https://hub/", "https://b\xfccher/", "https://b\xfccher/"),
])
def test_another_url_keeps_the_spelling_of_what_stays(before, url, after):
    if after is None:
        assert "something else that no URL has" in sentence(hub(before), url=url)
        return
    assert engine.with_url(hub(before), url) == hub(after)
    assert engine.parse(hub(after)).url == url


def test_what_an_encoding_lacks_becomes_a_reference():
    data = b'<?xml version="1.0" encoding="us-ascii"?>' + hub("https://hub/api/")
    after = engine.with_url(data, "https://b\xfccher/api/")
    assert b"https://b&#252;cher/api/" in after and engine.parse(after).url == "https://b\xfccher/api/"
    assert "edit it by hand" in sentence(data.replace(b"https://hub/api/", b"<![CDATA[https://hub/api/]]>"),
                                         url="https://b\xfccher/api/")


ENCODINGS = [
    ("utf-8", b"", "utf-8"), (None, b"", "utf-8"), ("UTF-8", codecs.BOM_UTF8, "utf-8"), (None, codecs.BOM_UTF8, "utf-8"),
    ("utf-16", codecs.BOM_UTF16_LE, "utf-16-le"), ("UTF-16", codecs.BOM_UTF16_BE, "utf-16-be"),
    (None, codecs.BOM_UTF16_LE, "utf-16-le"), ("iso-8859-1", b"", "iso8859-1"), ("ISO-8859-15", b"", "iso8859-15"),
    ("Windows-1252", b"", "cp1252"), ("us-ascii", b"", "ascii"),
]


def in_encoding(text, declared, mark, encoding):
    text = text.replace(' encoding="utf-8"', ' encoding="%s"' % declared if declared else "")
    return mark + text.encode(encoding)


@pytest.mark.parametrize("eol", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda row: "%s-%s" % (row[0], row[2]))
def test_byte_order_mark_encoding_and_line_ends_stay(encoding, eol):
    text = FILE.replace("\n", eol).replace("PRE-", "PRE-" if encoding[2] == "ascii" else "P\xe9-")
    before, after = (in_encoding(text.replace("https://hub.example.test/", url), *encoding)
                     for url in ("https://hub.example.test/", "https://hub.example.test:8443/"))
    assert engine.with_port(before, 8443) == after
    assert engine.parse(after).encoding == encoding[2]
    assert engine.with_url(after, "https://hub.example.test/api/") == before
    begin, end = engine.parse(before).span
    assert before[begin:end].decode(encoding[2]) == "https://hub.example.test/api/"


@pytest.mark.parametrize("name", sorted(engine._SUPPORTED))
def test_every_encoding_gives_back_the_bytes_that_it_was_given(name):
    try:
        codecs.lookup(name)
    except LookupError:
        assert name == "iso8859-12"     # was never published
        return
    for number in range(256):
        try:
            text = bytes([number]).decode(name)
        except UnicodeDecodeError:
            continue
        assert text.encode(name) == bytes([number])


# --- what is refused

BOMB = '<!DOCTYPE HubDetails [<!ENTITY a "%s">%s]><HubDetails><Url>&j;</Url></HubDetails>' % ("lol" * 10, "".join(
    '<!ENTITY %s "%s">' % (name, "&%s;" % last * 10) for last, name in zip("abcdefghi", "bcdefghij")))
REFUSED = [
    ("empty", b"", "the file is empty; restore it from a backup, or write it again as the agent's installation did"),
    ("blank", b" \r\n", "the file is empty; "),
    ("mark alone", codecs.BOM_UTF8, "the file is empty; "),
    ("blank UTF-16", codecs.BOM_UTF16_LE + " \n".encode("utf-16-le"), "the file is empty; "),
    ("NUL bytes", b"\0" * 50, "there is a NUL byte in line 1, column 1, which no XML file holds"),
    ("NUL inside", hub("https://hub/\0"),
     "there is a NUL byte in line 1, column 30, which no XML file holds: the file is damaged"),
    ("NUL in UTF-16", codecs.BOM_UTF16_LE + "<a>\n\0".encode("utf-16-le"), "there is a NUL character in line 2, column 1"),
    ("no XML", b"\n hello", "not XML: in line 2, column 2 stands something else"),
    ("JSON", b'{"Url": "https://hub/"}', "not XML: in line 1, column 1 stands something else"),
    ("cut in a tag", b"<HubDetails>\n<Url>https://hub/</Ur",
     "the file is cut short: it ends in line 2, column 22 inside <Url> of line 2, "
     "column 1; restore it"),
    ("cut between tags", b"<HubDetails>\n<Url>https://hub/</Url>\n", "the file is cut short: it ends in line 3, column 1 inside "
     "<HubDetails> of line 1, column 1"),
    ("cut in CDATA", b"<HubDetails><E1><![CDATA[x",
     "the file is cut short: it ends in line 1, column 27 inside <E1> of line 1, column 13"),
    ("cut in a comment", b"<HubDetails><!-- ", "the file is cut short: it ends in line 1, column 18 inside <HubDetails>"),
    ("cut declaration", b"<?xml versi", "the file is cut short: it ends in line 1, column 12; "),
    ("two Urls", b"<HubDetails>\n<Url>https://a/</Url>\n <Url>https://b/</Url></HubDetails>",
     "there are 2 <Url> directly below <HubDetails> (line 2, column 1; line 3, column 2), so there is no telling"),
    ("no Url", b"<HubDetails><!-- <Url>https://hub/</Url> --></HubDetails>",
     "there is no <Url> directly below <HubDetails>; write one"),
    ("Url elsewhere", b"<HubDetails><Hub><Url>https://hub/</Url></Hub></HubDetails>",
     "there is no <Url> directly below <HubDetails>; "),
    ("Url in other case", b"<HubDetails>\n<URL>https://hub/</URL></HubDetails>",
     "there is no <Url> directly below <HubDetails>, the one in line 2, column 1 is spelled in another case; write one"),
    ("empty Url", hub(""), "the <Url> in line 1, column 13 is empty; write the hub's address into it"),
    ("Url without text", b"<HubDetails><Url/></HubDetails>", "the <Url> in line 1, column 13 is empty"),
    ("blank Url", hub(" \n<!-- https://hub/ --><![CDATA[ ]]>"), "the <Url> in line 1, column 13 is empty"),
    ("Url with element", hub("https://hub/<b>api</b>"),
     "the <Url> in line 1, column 13 holds another element, in line 1, column 30"),
    ("DTD", b"\n<!DOCTYPE HubDetails>" + hub("https://hub/"),
     "there is a document type (<!DOCTYPE) in line 2, column 1, which no "
     "HubDetails.xml has; it was not read any further"),
    ("external DTD", b'<!DOCTYPE HubDetails SYSTEM "file:///etc/passwd">' + hub("https://hub/"),
     "there is a document type (<!DOCTYPE) in "
     "line 1, column 1"),
    ("external entity", b'<!-- x --><!DOCTYPE HubDetails [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + hub("&x;"),
     "there is a document type (<!DOCTYPE) in line 1, column 11"),
    ("entity bomb", BOMB.encode(), "there is a document type (<!DOCTYPE) in line 1, column 1"),
    ("bomb in UTF-16", codecs.BOM_UTF16_BE + BOMB.encode("utf-16-be"),
     "there is a document type (<!DOCTYPE) in line 1, column 1"),
    ("unknown entity", hub("https://hub/&nbsp;"),
     "there is an entity in line 1, column 30 that nothing defines; write an & that is "
     "meant as such as &amp;"),
    ("bare ampersand", hub("https://hub/?a&b=c"), "not well-formed XML: what stands in line 1, column 34 can't "
     "stand there (an & is written as &amp;, a < as &lt;); correct it by hand, or restore it"),
    ("wrong root", b"<!-- x -->\n<html><Url>https://hub/</Url></html>",
     "not a HubDetails.xml: its root, in line 2, column 1, is another "
     "element than <HubDetails>; name the agent's file"),
    ("prefixed root", b'<h:HubDetails xmlns:h="x"/>', "not a HubDetails.xml: its root"),
    ("mismatched tags", b"<HubDetails>\n<Url>https://hub/</HubDetails>",
     "the end tag in line 2, column 18 does not fit: the element "
     "opened last is <Url> in line 2, column 1"),
    ("two roots", hub("https://hub/") * 2, "there is something after the end of <HubDetails>, in line 1, column 49"),
    ("attribute twice", b'<HubDetails a="1" a="2"/>', "an element in line 1, column 19 has the same attribute twice"),
    ("deep", b"<HubDetails>" + b"<a>" * 200, "more than 100 elements stand inside of each other in line 1, column 310"),
    ("declared otherwise", b'<?xml version="1.0" encoding="utf-8"?>\n' + hub("https://b\xfc/").decode().encode("latin-1"),
     "byte 66 of the file, in line 2, column 27, does not fit its encoding, utf-8 by what line 1 says; save it in the encoding"),
    ("undeclared latin-1", hub("https://b\xfc/").decode().encode("latin-1"),
     "byte 27 of the file, in line 1, column 27, does not fit its "
     "encoding, UTF-8 since it names none"),
    ("odd UTF-16", codecs.BOM_UTF16_LE + b"<\0a",
     "byte 5 of the file, in line 1, column 2, does not fit its encoding, UTF-16 since"),
    ("UTF-16 declared only", b'<?xml version="1.0" encoding="utf-16"?>' + hub("https://hub/"),
     'the file says encoding="utf-16" in line 1, but its bytes are not UTF-16; save it in one encoding and name that'),
    ("marked UTF-8 says latin-1", codecs.BOM_UTF8 + b'<?xml version="1.0" encoding="iso-8859-1"?>' + hub("https://hub/"),
     'the file says encoding="iso-8859-1" in line 1, but begins with the byte order mark of UTF-8'),
    ("marked UTF-16 says UTF-8", codecs.BOM_UTF16_LE + FILE.encode("utf-16-le"),
     'the file says encoding="utf-8" in line 1, but begins with the byte order mark of UTF-16'),
    ("UTF-16 without mark", FILE.encode("utf-16-le"),
     "the file is in UTF-16 without a byte order mark; save it with one, or as UTF-8"),
    ("UTF-32", FILE.encode("utf-32"), "the file begins with the byte order mark of UTF-32, which is not supported here"),
    ("unknown encoding", b'<?xml version="1.0" encoding="klingon"?>' + hub("https://hub/"),
     'the file says encoding="klingon" in line 1, which is unknown or not supported here; save it as UTF-8'),
    ("encoding of Python's", b'<?xml version="1.0" encoding="rot13"?>' + hub("https://hub/"),
     'the file says encoding="rot13" in line 1, '),
    ("not the name of an encoding", b'<?xml version="1.0" encoding="&hunter2"?>' + hub("https://hub/"),
     "line 1 names an encoding in a way"),
    ("too big", hub("https://hub/") + b"\n" * engine.LIMIT, "the file has 262192 bytes, where one of about 1000 was expected and "
     "262144 are the limit"),
    ("long Url", hub("https://hub/" + "a" * 3000), "the Url in line 1, column 13 has more than 2048 characters"),
]


@pytest.mark.parametrize("data, expected", [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_leaves_room_for_doubt_is_refused(data, expected):
    assert sentence(data).startswith(expected)
    assert sentence(data, url="https://hub/api/").startswith(expected)
    assert engine.redacted(data) == b"********"


DIGITS = "99999999999999999999999"


@pytest.mark.parametrize("url, expected", [
    ("hub.example.test/api/",
     "not an absolute URL: it does not begin with https:// or http://; write it as https://HOST:PORT/api/"),
    ("/api/", "not an absolute URL"),
    ("//hub/api/", "not an absolute URL"),
    ("https:/hub/api/", "not an absolute URL"),
    ("ftp://hub/api/", "one of another kind than https:// or http://"),
    ("file:///etc/passwd", "one of another kind than https:// or http://"),
    ("https://", "one whose host or port can't be read"),
    ("https://:443/", "one whose host or port can't be read"),
    ("https://2001:db8::1/api/", "one whose host or port can't be read (an IPv6 address stands in brackets"),
    ("https://[::1/api/", "one whose host or port can't be read"),
    ("https://hub:https/", "one whose host or port can't be read"),
    ("https://hub:443x/", "one whose host or port can't be read"),
    ("https://hub:-1/", "one whose host or port can't be read"),
    ("https://hub:0/", "one that can't be used: its port is no number from 1 to 65535; write it as https://HOST:PORT/api/"),
    ("https://hub:65536/", "one that can't be used: its port is no number from 1 to 65535"),
    # May be a piece of a password.
    ("https://hub:%s/" % DIGITS, "one that can't be used: its port is no number from 1 to 65535"),
    ("https://user:hunter2@hub/api/", "one with an @ in it, as if a user name or a password stood before the host"),
    ("https://hunter2@hub/api/", "one with an @ in it"),
    ("https://user:443/hunter2@hub/api/", "one with an @ in it"),
    ("https://hub/a b", "one with a blank, or something else that no URL has, as its character 14"),
    ("https://hub\\api", "one with a blank, or something else that no URL has, as its character 12"),
    ("https://hub/\xa0", "one with a blank, or something else that no URL has, as its character 13"),
])
def test_urls_that_no_agent_can_have_are_refused(url, expected):
    for said in (sentence(hub(escape(url))), sentence(hub(escape(url)), url="https://hub/")):
        assert said.startswith("the Url in line 1, column 18 is " + expected)
        assert "hunter2" not in said and DIGITS not in said
    said = sentence(hub("https://hub/api/"), url=url)
    assert said.startswith("url is " + expected) and "hunter2" not in said and DIGITS not in said


@pytest.mark.parametrize("port", [0, -1, 65536, True, "55000x", None])
def test_what_is_no_port_is_refused(port):
    assert "which is not a port number: give a whole number from 1 to 65535" in sentence(hub("https://hub/"), port)


@pytest.mark.parametrize("before", ["https://hub:4<!-- x -->43/", "https://hub:4<![CDATA[43]]>/", "https://hub:<![CDATA[44]]>3/"])
def test_a_port_in_pieces_is_refused(before):
    assert sentence(hub(before), 5555) == (
        "the text of the <Url> in line 1, column 13 is in pieces, with a comment or the border of a CDATA section between them; "
        "write it in one piece")


@pytest.mark.parametrize("before, after", [
    ("https://hub:4<!-- x -->43/", "https://hub:84<!-- x -->43/"), ("https://hub:4<![CDATA[43]]>/", "https://hub:84<![CDATA[43]]>/"),
])
def test_a_port_in_pieces_of_which_one_alone_changes_is_moved(before, after):
    assert engine.with_port(hub(before), 8443) == hub(after)


HOSTILE = [
    ("blank lines in the Url", b"<HubDetails><Url>" + b"\n" * (engine.LIMIT - 50)),
    ("many elements", b"<HubDetails>" + b"<a/>" * (engine.LIMIT // 4 - 50)),
    ("many secrets", b"<HubDetails>%s<Url>https://h/</Url></HubDetails>" % (b"<a>x</a>" * (engine.LIMIT // 8 - 50))),
    ("many comments", b"<HubDetails>%s<Url>https://h/</Url></HubDetails>" % (b"<!---->" * (engine.LIMIT // 7 - 50))),
    ("many Urls", b"<HubDetails>%s</HubDetails>" % (b"<Url/>" * (engine.LIMIT // 6 - 50))),
    ("many attributes", b"<HubDetails %s/>" % b" ".join(b'a%06d=""' % number for number in range(engine.LIMIT // 11 - 50))),
    ("open tags", b"<HubDetails>" + b"<a>" * (engine.LIMIT // 3 - 50)),
    ("open comments", b"<HubDetails>" + b"<!--" * (engine.LIMIT // 4 - 50)),
    ("references", b"<HubDetails><E1>%s</E1><Url>https://h/</Url></HubDetails>" % (b"&lt;" * (engine.LIMIT // 4 - 50))),
    ("one line", b"<HubDetails><Url>https://h/</Url>%s</HubDetails>" % (b"x" * (engine.LIMIT - 60))),
    ("declaration without end", b"<?xml " + b" encoding=" * (engine.LIMIT // 10 - 50)),
    ("entity bomb", BOMB.encode()),
]
MEASURE = """
import resource, sys
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker import hub_details as engine
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF)
try:
    engine.with_port(data, 8443)
except engine.HubDetailsError:
    pass
engine.redacted(data)
after = resource.getrusage(resource.RUSAGE_SELF)
with open("/proc/self/status") as status:
    [kilobytes] = [line.split()[1] for line in status if line.startswith("VmHWM")]
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, int(kilobytes) / 1024)
"""


def cost(data):
    """(CPU seconds, megabytes) that the file takes; it is read four times."""
    assert len(data) <= engine.LIMIT
    done = subprocess.run([sys.executable, "-c", MEASURE], input=data, stdout=subprocess.PIPE, check=True,
                          env={"PYTHONPATH": os.pathsep.join(sys.path)})
    return tuple(map(float, done.stdout.split()))


@pytest.mark.parametrize("data", [row[1] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_no_file_takes_long_or_much_memory(data):
    seconds, megabytes = cost(data)
    # Ansible itself needs some 25 MB of the hundred that a module may take.
    assert (seconds < 3, megabytes < 60) == (True, True), (seconds, megabytes)


# What takes as long as it has bytes, and no longer, however long one piece of it is.
LONG = [
    ("name of an element", b'<%s x="y"/>', b"a"),
    ("name of an attribute", b'<x %s="y"/>', b"a"),
    ("blanks before an attribute", b'<x%s y="z"/>', b" "),
    ("blanks before an equals sign", b'<x y%s="z"/>', b" "),
    ("blanks behind an equals sign", b'<x y=%s"z"/>', b"\n"),
    ("blanks at the end of a tag", b'<x y="z"%s/>', b" "),
    ("quotation marks in a value", b'<x y="%s"/>', b"'"),
    ("what looks like attributes in a value", b"<x y='%s'/>", b' a="'),
    ("words in a value", b'<x y="%s"/>', b"a "),
    ("lines of a setting", b"<Thumbprint>%s</Thumbprint>", b"\n"),
    ("references in a setting", b"<Proxy>%s</Proxy>", b"&lt;"),
    ("setting in pieces", b"<Proxy>%s</Proxy>", b"<![CDATA[a]]>"),
]


@pytest.mark.parametrize("inside, piece", [row[1:] for row in LONG], ids=[row[0] for row in LONG])
def test_nothing_long_takes_the_square_of_its_length(inside, piece):
    around = b"<HubDetails>" + inside + b"<Url>https://h/</Url></HubDetails>"

    def filled(room):
        return around % (piece * ((room - len(around) - 20) // len(piece)))

    # The port that is put in needs room too.
    data = filled(engine.LIMIT)
    assert len(data) > engine.LIMIT - 100 and engine.with_port(data, 8443)
    eighth, (whole, megabytes) = cost(filled(engine.LIMIT // growth.SHARE))[0], cost(data)
    assert (growth.is_a_line(eighth, whole), megabytes < 60) == (True, True), (eighth, whole, megabytes)


# --- secrets

def test_a_diff_shows_the_url_and_harmless_names_alone():
    shown = engine.redacted(FILE.encode()).decode()
    assert shown == re.sub("(<(Username|E1|Proxy|ProxyDomain|ProxyUsername|ProxyPassword|Thumbprint)>)[^<]*", r"\1********", FILE)
    assert "PRE-" in shown and not any(secret in shown for secret in SECRETS)


@pytest.mark.parametrize("text", [
    "<Password>hunter2</Password>", "<!-- <Password>hunter2</Password> -->", "<!--> hunter2 -->", "<?old hunter2?>",
    "<Password old='hunter2'/>",
    "<NamePrefix xmlnsx='hunter2'>x</NamePrefix>", "<NamePrefix\txmlns.x='hunter2'/>",
    '<Password old = "a>hunter2"></Password>', "<Unknown>hunter2</Unknown>", "hunter2", "<![CDATA[hunter2]]>",
    "<E1>x<![CDATA[hunter2]]>y</E1>",
    "<E1>a&amp;hunter2</E1>", "<E1>\n hunter2 \n</E1>", "<Deep><Url>https://hunter2/</Url></Deep>",
    "<Deep><NamePrefix>hunter2</NamePrefix></Deep>",
    "<NamePrefix>x<b>hunter2</b></NamePrefix>", "<NamePrefix>x<!-- hunter2 --></NamePrefix>",
    "<NamePrefix a='hunter2'>x</NamePrefix>",
    "<url>hunter2</url>", "<Password><![CDATA[ ]]><![CDATA[hunter2]]></Password>",
])
@pytest.mark.parametrize("encoding", [ENCODINGS[0], ENCODINGS[4]], ids=["utf-8", "utf-16"])
def test_no_secret_is_in_a_diff(text, encoding):
    for place in ("</HubDetails>", "<Url>"):
        whole = FILE.replace(place, text + "\n" + place)
        shown = engine.redacted(in_encoding(whole, *encoding)).decode("utf-8")
        assert "hunter2" not in shown and "https://hub.example.test/api/" in shown
        assert ET.fromstring(shown) is not None and not any(secret in shown for secret in SECRETS)


@pytest.mark.parametrize("text", ["<!-- hunter2 -->", "<!--> hunter2 -->", "<?old hunter2?>"])
def test_no_secret_outside_of_the_root_is_in_a_diff(text):
    for whole in (FILE + text, FILE + text + "\n", FILE.replace("<HubDetails", text + "\n<HubDetails")):
        shown = engine.redacted(whole.encode()).decode()
        assert "hunter2" not in shown and shown.count("\n") == whole.count("\n")


@pytest.mark.parametrize("text, shown", [
    ("https://hub/api/", "https://hub/api/"), ("https://hub:8443/api/?key=7Qz", "https://hub:8443/api/?********"),
    ("https://hub/api#7Qz?7Qz", "https://hub/api#********"), ("https://hub/api&#63;key=7Qz", "https://hub/api?********"),
    ("https://hub/api&#x23;7Qz", "https://hub/api#********"), ("https:&#47;&#x2f;hub/api", "https:&#47;&#x2f;hub/api"),
    ("https://hub/api?a=b&amp;key=7Qz", "https://hub/api?********"),
    ("<![CDATA[https://hub/api?a=b&key=7Qz]]>", "<![CDATA[https://hub/api?********]]>"),
    ("https://hub/<![CDATA[api?]]>key=7Qz", "https://hub/<![CDATA[api?********]]>"),
    ("https://hub/api?<!-- x -->key=7Qz<!-- y -->7Qz",
     "https://hub/api?********<!-- ******** -->********<!-- ******** -->********"),
])
def test_a_diff_shows_the_url_without_its_query_and_fragment(text, shown):
    frame = "<HubDetails><Url>%s</Url><E1 /></HubDetails>"
    assert engine.redacted((frame % text).encode()).decode() == frame % shown
    assert ET.fromstring(frame % shown) is not None


def test_the_way_to_the_hub_is_a_path_without_query():
    assert engine.way(b"<HubDetails><Url>https://hub/api?key=7Qz#x</Url></HubDetails>").path == "/api"
    assert engine.way(b"<HubDetails><Url>https://hub?key=7Qz</Url></HubDetails>").path == "/"


@pytest.mark.parametrize("place", range(0, len(FILE), 7))
def test_no_sentence_on_a_broken_file_holds_a_secret(place):
    for broken in (FILE[:place], FILE[:place] + "<" + FILE[place:], FILE[:place] + "&" + FILE[place:],
                   FILE[:place] + "\x01" + FILE[place:],
                   FILE[:place] + FILE[place + 20:]):
        try:
            engine.with_port(broken.encode(), 8443)
            said = ""
        except engine.HubDetailsError as err:
            said = str(err)
        assert not any(secret in said for secret in SECRETS)
        shown = engine.redacted(broken.encode()).decode()
        assert not any(secret in shown for secret in SECRETS)


# --- any file

blanks = st.text(st.sampled_from(" \t\r\n"), max_size=3)
# Without U+0080 to U+009F, for which windows-1252 has no place.
plain = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xff, blacklist_categories=("Cc",)), max_size=12)
hosts = st.sampled_from(["hub", "hub.example.test", "192.0.2.1", "[2001:db8::1]", "H-1.example", "b\xfccher"])
ports = st.integers(1, 65535)
urls = st.builds("%s://%s%s%s".__mod__, st.tuples(
    st.sampled_from(["http", "https", "HTTPS"]), hosts, st.one_of(st.just(""), ports.map(":%d".__mod__)),
    st.sampled_from(["", "/api", "/api/", "/api/?a=1&b=2", "?x", "/#f&"])))


@st.composite
def markups(draw, url):
    """The URL as XML may spell it."""
    before, after = draw(blanks), draw(blanks)
    if draw(st.booleans()):
        return "%s<![CDATA[%s]]>%s" % (before, url, after)
    spelled = [draw(st.sampled_from([escape(char)] * 6 + ["&#%d;" % ord(char), "&#x%x;" % ord(char)])) for char in url]
    return before + "".join(spelled) + after


decoys = st.one_of(
    plain.map(lambda text: "<!--%s <Url>https://no/</Url>-->" % text.replace("-", "_")),
    plain.map(lambda text: "<?old %s?>" % text.replace("?", "_")),
    plain.map(lambda text: "<E1>%s</E1>" % escape(text)),
    plain.map(lambda text: "<Password k='%s' />" % escape(text, {"'": "&apos;"})),
    plain.map(lambda text: "<X><Url>%s</Url></X>" % escape(text)),
    plain.map(lambda text: "<X><![CDATA[<Url>%s</Url>]]></X>" % text.replace("]", "_")),
    plain.map(escape), blanks)


@st.composite
def files(draw):
    """(bytes of a well-formed file, its URL, its encoding)"""
    url = draw(urls)
    declared, mark, encoding = draw(st.sampled_from([row for row in ENCODINGS if row[2] not in ("ascii", "iso8859-15")]))
    start, end = ("".join(draw(st.lists(decoys, max_size=3))) for unused in range(2))
    tag = draw(st.sampled_from(["<Url>", "<Url >", '<Url k="1>0">', "<Url\n\tk='&amp;'>"]))
    text = "%s%s<HubDetails%s>%s%s%s</Url>%s</HubDetails>%s" % (
        '<?xml version="1.0"%s?>' % (' encoding="%s"' % declared if declared else ""), draw(blanks),
        draw(st.sampled_from(["", " xmlns:xsi='x'"])), start, tag, draw(markups(url)), end, draw(blanks))
    return mark + text.encode(encoding), url, encoding


def tree(data):
    """What an XML parser sees, comments and processing instructions too; the live Url stripped of its text."""
    root = ET.fromstring(data, ET.XMLParser(target=ET.TreeBuilder(insert_comments=True, insert_pis=True)))
    found = [str((item.tag, item.attrib, item.text, item.tail)) for item in root.iter() if item is not root.find("Url")]
    live = root.find("Url")
    blanks = re.match(r"(\s*)(\S*)(\s*)\Z", live.text).groups()
    return [*found, (live.attrib, live.tail, blanks[0], blanks[2])], blanks[1]


def outside(data):
    begin, end = engine.parse(data).span
    return hashlib.sha256(data[:begin]).hexdigest(), hashlib.sha256(data[end:]).hexdigest()


@given(files(), ports)
def test_a_parser_sees_the_same_tree_but_for_the_port(file, port):
    data, url, encoding = file
    assert tree(data)[1] == engine.parse(data).url == url
    after = engine.with_port(data, port)
    assert tree(after) == (tree(data)[0], engine.url_with_port(url, port))
    assert engine.parse(after).port == port
    assert outside(after) == outside(data)
    assert engine.with_port(after, port) == after


@given(files(), urls)
def test_a_parser_sees_the_same_tree_but_for_the_url(file, url):
    data, old, encoding = file
    after = engine.with_url(data, url)
    assert tree(after) == (tree(data)[0], url)
    assert outside(after) == outside(data)
    back = engine.with_url(after, old)
    assert tree(back) == tree(data) and outside(back) == outside(data)


@given(files(), ports)
def test_the_new_port_and_then_the_old_url_give_the_same_bytes(file, port):
    data, url, encoding = file
    begin, end = engine.parse(data).span
    if re.search("&#", data[begin:end].decode(encoding)):
        # What was spelled as a reference comes back as the character itself: so the same bytes are asked of the rest.
        data = data[:begin] + escape(url).encode(encoding, "xmlcharrefreplace") + data[end:]
    assert engine.with_url(engine.with_port(data, port), url) == data


def hides_all(text):
    # Two masks where a comment stood in between, which the parser of this test drops.
    return not (text or "").replace("********", "").strip()


@given(files())
@example((b"<HubDetails>s<!-- c -->s<Url>http://hub</Url>s<!-- c -->s</HubDetails>", "http://hub", "utf-8"))
def test_the_redacted_file_is_one_with_the_same_url_and_elements(file):
    data, url, encoding = file
    shown = engine.redacted(data).decode("utf-8")
    root = ET.fromstring(re.sub(r"^\ufeff?<\?xml[^>]*>", "", shown).strip())
    assert root.find("Url").text.strip() == re.sub("([?#]).*", r"\1********", url)
    assert [item.tag for item in root.iter()] == [item.tag for item in ET.fromstring(data).iter()]
    for item in root.iter():
        assert item is root.find("Url") or hides_all(item.text)
        assert hides_all(item.tail) and set(item.attrib.values()) <= {"********"}


@given(st.binary(max_size=200), st.integers(0, len(FILE)), st.integers(0, 50))
def test_bytes_of_any_kind_give_a_sentence_or_a_file(noise, at, gone):
    for data in (noise, FILE.encode()[:at] + noise + FILE.encode()[at + gone:]):
        try:
            assert engine.parse(engine.with_port(data, 8443)).port == 8443
        except EngineError as err:
            assert str(err)
        assert isinstance(engine.redacted(data), bytes)
