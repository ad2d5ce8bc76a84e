# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mastheads: where the port stands, what a move of it changes, and which issued masthead may take another's place."""

import re
import time
from collections import OrderedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead import (
    MastheadError,
    check_issued,
    parse,
    with_port,
)
from ansible_collections.portshift.agents.tests.unit.cms_forgeries import MASTHEAD_SHAPES, in_masthead
from ansible_collections.portshift.agents.tests.unit.masthead_files import (
    certificate_sha256,
    inner_part,
    make_signer,
    openssl_accepts,
    plain,
    session_signer,
    sign,
)

URL_HEADERS = [
    "X-Fixlet-Site-Gather-URL",
    "X-Fixlet-Site-Report-URL",
    "X-Fixlet-Site-Registration-URL",
    "X-BES-Mirror-Gather-URL",
    "X-BES-Mirror-Download-URL",
]


@pytest.fixture(scope="module")
def signed():
    return sign(inner_part())


# --- what is read -----------------------------------------------------------------------------------------------


def test_signed_masthead_is_read(signed):
    masthead = parse(signed)
    assert (masthead.data, masthead.format, masthead.ports, masthead.port) == (signed, "signed", [52311], 52311)
    assert (masthead.host, masthead.serial_number) == ("bigfix.example.test", "123456789")
    assert (masthead.signature, masthead.signer_sha256) == ("valid", certificate_sha256(session_signer()[1]))
    assert isinstance(masthead.urls, OrderedDict) and list(masthead.urls) == URL_HEADERS
    assert masthead.urls["X-BES-Mirror-Download-URL"] == "http://bigfix.example.test:52311/bfmirror/downloads/"


def test_plain_masthead_is_read():
    masthead = parse(plain())
    assert (masthead.format, masthead.ports, masthead.port) == ("plain", [52311], 52311)
    assert (masthead.host, masthead.serial_number) == ("bigfix.example.test", "123456789")
    assert (masthead.signature, masthead.signer_sha256) == ("absent", None)


def test_port_line_alone_is_a_masthead_without_host_and_serial():
    masthead = parse(b"_PortNumber=52311")
    assert (masthead.port, masthead.host, masthead.serial_number, masthead.urls) == (52311, None, None, OrderedDict())


def test_mixed_ports_are_read_and_listed():
    masthead = parse(b"a\nb\n_PortNumber=52311\nX-Fixlet-Site-Gather-URL: http://h:52312/\n")
    assert (masthead.port, masthead.ports) == (None, [52311, 52312])
    assert masthead.describe_ports() == "_PortNumber (line 3): 52311, X-Fixlet-Site-Gather-URL: 52312"


@pytest.mark.parametrize("text, host", [
    (b"X-A-URL: http://first:1/\nX-Fixlet-Site-Registration-URL: http://reg:1/", "reg"),
    (b"X-A-URL: http://first:1/\nx-fixlet-site-REGISTRATION-url: https://Reg:1/", "Reg"),
    (b"X-A-URL: http://first:1/\nX-B-URL: http://second:1/", "first"),
    (b"x-bes-fallback-server: http://fallback:1/\nX-A-URL: http://first:1/", "first"),
    (b"X-A-URL: http://[2001:db8::1]:1/x", "2001:db8::1"),
    (b"x-bes-fallback-server: http://fallback:1/\n_PortNumber=1", "fallback"),
])
def test_host_is_the_one_of_the_registration_url_or_else_the_first(text, host):
    assert parse(text).host == host


def test_repeated_header_keeps_both_urls():
    masthead = parse(b"X-A-URL: http://h:1/a\nX-A-URL: http://h:2/b\n")
    assert masthead.urls == {"X-A-URL": "http://h:1/a", "X-A-URL (line 2)": "http://h:2/b"}
    assert masthead.describe_ports() == "X-A-URL: 1, X-A-URL (line 2): 2"


def test_ports_outside_the_signed_part_do_not_count():
    masthead = sign(inner_part())
    noisy = masthead.replace(b"This is an S/MIME", b"X-Other-URL: http://other:1/\n_PortNumber=2\nThis is an S/MIME")
    noisy += b"\n_PortNumber=3\n"
    assert noisy != masthead and parse(noisy).ports == [52311]


# --- the edit ---------------------------------------------------------------------------------------------------

EDITS = [  # before and after, {} being the port
    b"_PortNumber={}",
    b"_PortNumber={}\n",
    b"_PortNumber={}\r\n",
    b"\xef\xbb\xbf_PortNumber={}\r\n",
    b"_portnumber \t=  {}  \n",
    b'_PORTNUMBER = "{}"\r\n',
    b"_PortNumber={}\n_PortNumber = {}\n",
    b"[Masthead]\r\n; port 52311\r\n_PortNumber={}\r\n_Name=M\xfcller 52311\r\n",
    b"x_PortNumber=52311\n_PortNumberOld=52311\n _PortNumber=52311\n_PortNumber={}\n",
    b"X-Fixlet-Site-Gather-URL: http://h:{}/cgi-bin/52311:52311/\r\n",
    b"x-fixlet-site-gather-url:http://h:{}\n",
    b"X-A-URL : HTTPS://h:{}?x=:52311\nX-B-URL:\thttp://h:{}#52311\n",
    b"X-A-URL: http://[2001:db8::52311]:{}/x",
    b"X-A-URL: http://\xfc.example:{}/\xff\x00\r\n",
    b"X-A-URL:\r\n http://folded:{}/\r\n",
    b"X-A-URL: http://h:{}/\r\n X-B-URL: http://folded:52311/\r\n\tX-C-URL: http://folded:52311/\r\n",
    b"x-bes-fallback-server: http://h:{}/\nX-A-URL: http://h:{}/\n",
    b"x-bes-fallback-server: http://h/\nx-bes-fallback-server: h:52311\nX-A-URL: http://h:{}/\n",
    b"X-A-URL: none\nX-B-URI: http://h:52311/\nA-X-URL: http://h:52311/\nX-A-URL: http://h:{}/\n",
]


@pytest.mark.parametrize("template", EDITS)
@pytest.mark.parametrize("port", [1, 443, 55000, 65535])
def test_only_the_ports_digits_change(template, port):
    before, after = template.replace(b"{}", b"52311"), template.replace(b"{}", b"%d" % port)
    assert with_port(parse(before), port) == after
    assert with_port(parse(after), 52311) == before


def test_editing_a_signed_masthead_moves_five_urls_and_breaks_the_signature(signed, tmp_path):
    edited = with_port(parse(signed), 55000)
    assert edited.count(b":55000/") == 5 and b"52311" not in edited
    assert (parse(edited).port, parse(edited).signature) == (55000, "invalid")
    assert not openssl_accepts(edited, tmp_path)
    assert with_port(parse(edited), 52311) == signed


def test_mixed_ports_are_not_edited_but_listed_with_their_places():
    masthead = parse(b"a\nb\n_PortNumber=52311\nX-Fixlet-Site-Gather-URL: http://h:52312/\n")
    with pytest.raises(MastheadError) as error:
        with_port(masthead, 55000)
    assert str(error.value) == (
        "mixed ports in one masthead (_PortNumber (line 3): 52311, X-Fixlet-Site-Gather-URL: 52312). It is not clear"
        " which of them the agents use: restore the masthead of the root server, or have BESAdmin issue one for port"
        " 55000.")


def test_thousands_of_mixed_ports_are_listed_briefly():
    lines = [b"X-A-URL: http://h:%d/\n" % (1 + n % 2) for n in range(5000)]
    with pytest.raises(MastheadError, match=r", and 4\d\d\d more places\)") as error:
        with_port(parse(b"".join(lines)), 55000)
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize("port", [0, -1, 65536, "55000", None, True, 1.0])
def test_only_a_port_number_can_be_set(port):
    with pytest.raises(MastheadError, match="choose one from 1 to 65535"):
        with_port(parse(plain()), port)


# Lines of any bytes, as long as they are none that the engine looks for.
odd_lines = st.binary(max_size=30).map(lambda raw: re.sub(rb"(?i)\n|^[ \t\xefx_c]+", b"", raw))
port_lines = st.builds(
    lambda name, before, quote, after: (name + before + b"=" + before + quote, quote + after),
    st.sampled_from([b"_PortNumber", b"_portnumber", b"_PORTNUMBER"]), st.sampled_from([b"", b" ", b"\t  "]),
    st.sampled_from([b"", b'"']), st.sampled_from([b"", b" "]))
url_lines = st.builds(
    lambda name, space, scheme, host, path: (name + b":" + space + scheme + b"://" + host + b":", path),
    st.sampled_from([b"X-Fixlet-Site-Gather-URL", b"x-bes-mirror-gather-url", b"X-52311-URL"]),
    st.sampled_from([b"", b" ", b"\t "]), st.sampled_from([b"http", b"HTTPS"]),
    st.sampled_from([b"h", b"52311.example.test", b"[::1]", b"\xfc"]),
    st.sampled_from([b"", b"/"]).flatmap(
        lambda slash: odd_lines.map(lambda raw: slash + raw.replace(b"\r", b"")) if slash else st.just(b"")))
holders = st.lists(st.one_of(odd_lines, port_lines, url_lines), max_size=12).flatmap(
    lambda lines: st.permutations(lines + [(b"_PortNumber=", b"")]))


@settings(max_examples=300)
@given(lines=holders, newline=st.sampled_from([b"\n", b"\r\n"]), bom=st.sampled_from([b"", b"\xef\xbb\xbf"]),
       old=st.integers(1, 65535), new=st.integers(1, 65535), last=st.booleans())
def test_everything_outside_the_ports_stays_and_the_way_back_is_exact(lines, newline, bom, old, new, last):
    def build(port):
        text = [line if isinstance(line, bytes) else (b"%d" % port).join(line) for line in lines]
        return bom + newline.join(text) + (newline if last else b"")

    masthead = parse(build(old))
    assert masthead.ports == [old]
    moved = with_port(masthead, new)
    assert moved == build(new)
    assert with_port(parse(moved), old) == build(old)


@settings(max_examples=300)
@given(st.binary(max_size=300), st.integers(0, 2000))
def test_damaged_mastheads_are_read_or_refused_with_a_sentence(signed, junk, at):
    for base in (signed, plain()):
        try:
            assert parse(base[:at] + junk + base[at + len(junk):]).ports
        except MastheadError as error:
            assert str(error)[0] in "_abcdefghijklmnopqrstuvwxyz" and str(error).endswith(".")


# --- what is refused --------------------------------------------------------------------------------------------

REFUSED = [
    (b"", "empty file where a masthead was expected. Copy the masthead from the root server again."),
    (b" \r\n\n", "empty file where a masthead was expected. Copy the masthead from the root server again."),
    (b"hello\n", "not a masthead: it has neither a _PortNumber= line nor masthead URL headers. Name the Masthead.afxm"
                 " or actionsite.afxm of the deployment."),
    (b"x-bes-fallback-server: http://h:52311/\n", "not a masthead: it has neither a _PortNumber= line nor"),
    ("\ufeff_PortNumber=52311\n".encode("utf-16-le"), "not a masthead: it looks like UTF-16 text; a masthead is 8-bit"),
    ("_PortNumber=52311\n".encode("utf-16-le"), "not a masthead: it looks like UTF-16 text; a masthead is 8-bit text."),
    ("_PortNumber=52311\n".encode("utf-16-be"), "not a masthead: it looks like UTF-16 text; a masthead is 8-bit text."),
    (b"\x7fELF\x02\0\0", "not a masthead: it looks like a binary file."),
    (b"x\n_PortNumber=", "_PortNumber (line 2) is '', not a port number. Write one from 1 to 65535 there."),
    (b"_PortNumber=http\xff\n", "_PortNumber (line 1) is 'http\\xff', not a port number."),
    (b"_PortNumber=52311 # old", "_PortNumber (line 1) is '52311 # old', not a port number."),
    (b'_PortNumber="52311', "_PortNumber (line 1) is '\"52311', not a port number."),
    (b"_PortNumber=-1", "_PortNumber (line 1) is '-1', not a port number."),
    (b"_PortNumber=" + b"x" * 500, "_PortNumber (line 1) is '" + "x" * 57 + "...', not a port number."),
    (b"_PortNumber=0", "_PortNumber (line 1) has the port '0'. Ports go from 1 to 65535: correct it."),
    (b"_PortNumber=65536", "_PortNumber (line 1) has the port '65536'. Ports go from 1 to 65535: correct it."),
    (b"_PortNumber=052311", "_PortNumber (line 1) has the port '052311', with a leading zero. Write it without one."),
    (b"_PortNumber=52311\n\n_PortNumber=52312\n",
     "two _PortNumber lines that differ: 52311 (line 1) and 52312 (line 3). Keep the one that the root server listens"
     " on."),
    (b"_PortNumber=1\nX-A-URL: http://h/x\n", "masthead URL X-A-URL (line 2) has no port in 'http://h/x'. A masthead"
                                              " names its port in every URL: copy the masthead from the root server"),
    (b"X-A-URL: http://h:/x\n", "masthead URL X-A-URL (line 1) has no port in 'http://h:/x'."),
    (b"X-A-URL: http://[::1]/x\n", "masthead URL X-A-URL (line 1) has no port in 'http://[::1]/x'."),
    (b"X-A-URL: http://h:0/x\n", "masthead URL X-A-URL (line 1) has the port '0'. Ports go from 1 to 65535:"),
    (b"X-A-URL: http://h:65536/x\n", "masthead URL X-A-URL (line 1) has the port '65536'. Ports go from"),
    (b"X-A-URL: http://h:0443/x\n", "masthead URL X-A-URL (line 1) has the port '0443', with a leading zero."),
    (b"X-A-URL: http://h:port/x\n", "masthead URL X-A-URL (line 1) is not of the form http://host:port/path."),
    (b"X-A-URL: http://user:secret@h:1/x\n", "masthead URL X-A-URL (line 1) is not of the form http://host:port/path."),
    (b"X-A-URL: http://::1:52311/x\n", "masthead URL X-A-URL (line 1) is not of the form http://host:port/path."),
    (b"_PortNumber=1\nx-bes-fallback-server: http://h:99999/\n",
     "masthead URL x-bes-fallback-server (line 2) has the port '99999'."),
]


@pytest.mark.parametrize("data, sentence", REFUSED)
def test_what_is_no_masthead_is_refused_with_what_was_found(data, sentence):
    with pytest.raises(MastheadError) as error:
        parse(data)
    assert str(error.value).startswith(sentence)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("cut, sentence", [
    (lambda data: data[:-5], "signed masthead that is cut short: the closing boundary --"),
    (lambda data: data[:data.index(b"X-Fixlet-Site-Report")], "signed masthead that is cut short: the closing"),
    (lambda data: data[:data.index(b"\n\n") + 1], "signed masthead that is cut short: the closing boundary"),
    (lambda data: re.sub(rb"(?s)(\n------\w+)\nContent-Type: application.*", rb"\1--\n", data),
     "signed masthead that is cut short: it has no signature part"),
    (lambda data: re.sub(rb'(?s)(filename="smime.p7s"\n\n).*(\n------)', rb"\1\2", data),
     "signed masthead that is cut short: its signature part is empty"),
    (lambda data: b"\n" + data, "signed masthead whose head does not say multipart/signed, so agents cannot read it."),
    (lambda data: data.split(b"\n\n", 1)[1], "signed masthead whose head does not say multipart/signed"),
    (lambda data: re.sub(rb"; boundary=.*", b"", data), "signed masthead (multipart/signed) whose Content-Type"),
    (lambda data: re.sub(rb"boundary=.*", b'boundary=""', data), "signed masthead (multipart/signed) whose Content"),
    (lambda data: data.replace(b"micalg=", b"micalg:"), "signed masthead (multipart/signed) whose Content-Type names"),
    (lambda data: re.sub(rb"(?s)(\n------\w+)(\n.*)", rb"\1\nextra\n\1\2", data), "signed masthead with more than two"),
    (lambda data: data.replace(b"Content-Type: application/x-pkcs7-signature", b"Content-Type: text/plain"),
     "signed masthead whose second part is 'text/plain' where application/x-pkcs7-signature was expected."),
    (lambda data: data.replace(b":52311/", b"/"), "masthead URL X-Fixlet-Site-Gather-URL (line 11) has no port"),
])
def test_damaged_signed_masthead_is_refused_with_what_is_missing(signed, cut, sentence):
    damaged = cut(signed)
    assert damaged != signed
    with pytest.raises(MastheadError) as error:
        parse(damaged)
    assert str(error.value).startswith(sentence)


def test_every_cut_of_a_signed_masthead_is_refused(signed):
    complete = signed.rindex(b"--") + 2
    for size in range(complete):
        with pytest.raises(MastheadError):
            parse(signed[:size])
    assert parse(signed[:complete]).signature == "valid"


@pytest.mark.parametrize("data", [
    b"X-" + b"-URL" * 1000000,
    b"_PortNumber=1\n" * 200000 + b"X-A-URL: http://h:2/\n",
    b"_PortNumber=1\n" + b"\n" * 4000000,
    b"_PortNumber=1\nX-A-URL:" + b" " * 4000000,
    b"_PortNumber=" + b"9" * 4000000,
    b"X-A-URL: http://h:" + b"9" * 4000000,
    b"X-A-URL: http://" + b"h" * 4000000 + b"@",
    b"Content-Type: multipart/signed" + b"; " * 2000000,
    b'Content-Type: multipart/signed; boundary="b"\n\n' + b"--b\n" * 1000000,
    b'Content-Type: multipart/signed; boundary="b"\n\n--b\n' + b"\r" * 4000000 + b"\n_PortNumber=1\n--b\n"
    b"Content-Type: application/x-pkcs7-signature\n\n" + b"MIAw\n" * 800000 + b"\n--b--\n",
], ids=range(10))
def test_four_hostile_megabytes_take_seconds_not_hours(data):
    began = time.process_time()
    try:
        parse(data)
    except MastheadError as error:
        assert len(str(error)) < 2000
    assert time.process_time() - began < 20


# --- the signature ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, md, signature", [
    ("rsa", "sha256", "valid"), ("rsa", "sha1", "valid"), ("ec", "sha256", "unchecked")])
def test_signature_of_an_untouched_masthead(kind, md, signature):
    key, cert = session_signer("masthead-" + kind, kind)
    masthead = parse(sign(inner_part(), key, cert, md=md))
    assert (masthead.signature, masthead.signer_sha256) == (signature, certificate_sha256(cert))


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_hand_edited_port_breaks_the_signature(kind):
    edited = sign(inner_part(), *session_signer("masthead-" + kind, kind)).replace(b":52311/", b":55000/", 1)
    assert (parse(edited).ports, parse(edited).signature) == ([52311, 55000], "invalid")
    assert parse(edited).signature_reason == "the content is not what was signed: its sha256 digest differs"


@pytest.mark.parametrize("shape", sorted(MASTHEAD_SHAPES))
def test_each_shape_of_masthead_is_valid_and_may_take_the_place_of_each_other(signed, shape, tmp_path):
    installed, issued = (in_masthead(sign(inner_part(port=port)), MASTHEAD_SHAPES[shape]) for port in (52311, 55000))
    assert openssl_accepts(issued, tmp_path)
    masthead = parse(issued)
    assert (masthead.signature, masthead.signer_sha256) == ("valid", certificate_sha256(session_signer()[1]))
    assert check(installed, issued) == check(signed, issued) == check(installed, sign(inner_part(port=55000))) == []
    for edited in (with_port(parse(installed), 55000), installed.replace(b"test:52311", b"tost:52311")):
        assert (parse(edited).signature, openssl_accepts(edited, tmp_path)) == ("invalid", False)


def in_base64(data, change):
    return re.sub(rb'(?s)(?<=p7s"\n\n).*?(?=\n\n------)', lambda found: change(found.group()), data)


SIGNED_VARIANTS = {  # how a file may look after editors, mailers and transfers have had it
    "untouched": lambda data: data,
    "all lines end with LF": lambda data: data.replace(b"\r\n", b"\n"),
    "all lines end with CRLF": lambda data: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
    "CR doubled": lambda data: data.replace(b"\r\n", b"\r\r\n"),
    "no newline at the end": lambda data: data.rstrip(),
    "text behind the end": lambda data: data + b"text\n",
    "mail headers in front": lambda data: b"From: a@example.test\nSubject: masthead\n" + data,
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "byte order mark before Content-Type": lambda data: b"\xef\xbb\xbf" + data.split(b"\n", 1)[1],
    "header names in lower case": lambda data: data.replace(b"Content-Type", b"content-type"),
    "boundary unquoted": lambda data: re.sub(rb'boundary="(\S+)"', rb"boundary=\1", data),
    "header folded": lambda data: data.replace(b"; boundary", b";\n\tboundary"),
    "blank behind a delimiter": lambda data: re.sub(rb"(\n------\w+)\n", b"\\1 \n", data),
    "blank line added to the text": lambda data: re.sub(rb"\r\n(\n------)", rb"\r\n\r\n\1", data),
    "blank at a line's end": lambda data: data.replace(b"downloads/\r\n", b"downloads/ \r\n"),
    "port edited": lambda data: data.replace(b":52311/", b":55000/"),
    "preamble edited": lambda data: data.replace(b"This is an", b"This was an"),
    "base64 in one line": lambda data: in_base64(data, lambda text: text.replace(b"\n", b"")),
    "base64 in lines of 500": lambda data: in_base64(data, lambda text: re.sub(
        rb"(.{500})", rb"\1\n", text.replace(b"\n", b""))),
    "base64 with blank lines": lambda data: in_base64(data, lambda text: b"\n" + text.replace(b"\n", b"\n\n", 3)),
    "base64 letter changed": lambda data: re.sub(rb'(p7s"\n\n.{20})(.)', rb"\1!", data),
    "base64 line lost": lambda data: re.sub(rb'(p7s"\n\n.*\n).*\n', rb"\1", data),
    "signature type without x-": lambda data: data.replace(
        b"Content-Type: application/x-pkcs7", b"Content-Type: application/pkcs7"),
}


@pytest.mark.parametrize("name", sorted(SIGNED_VARIANTS))
def test_verdict_is_the_one_of_openssl(name, signed, tmp_path):
    data = SIGNED_VARIANTS[name](signed)
    assert (data != signed) == (name != "untouched")
    assert parse(data).signature == ("valid" if openssl_accepts(data, tmp_path) else "invalid")


@pytest.mark.parametrize("inner", [
    inner_part(newline=b"\n"), inner_part() + b"no newline at the end", inner_part() + b"\r\n\r\n",
    b"\r\n" + inner_part(), inner_part() + b"M\xfcller \xff\r\n", inner_part() + b"--no boundary\r\n",
    inner_part() + b"a\rb\r\n",
    inner_part() + b"x" * 5000 + b"\r\n",
], ids=range(8))
@pytest.mark.parametrize("options", [(), ("-noattr",), ("-stream",)], ids=["", "noattr", "stream"])
def test_verdict_on_odd_content_is_the_one_of_openssl(inner, options, tmp_path):
    data = sign(inner, options=options)
    assert parse(data).signature == ("valid" if openssl_accepts(data, tmp_path) else "invalid")


def test_verdict_on_random_damage_is_never_milder_than_the_one_of_openssl(signed, tmp_path):
    for at in range(0, len(signed), 29):
        data = signed[:at] + bytes([signed[at] ^ (1 << at % 8)]) + signed[at + 1:]
        try:
            signature = parse(data).signature
        except MastheadError:
            continue
        if signature == "valid":
            assert openssl_accepts(data, tmp_path), at


# --- an issued masthead -----------------------------------------------------------------------------------------


def check(installed, issued, port=55000, **options):
    return check_issued(parse(installed), parse(issued), port, **options)


def refusal(installed, issued, port=55000):
    with pytest.raises(MastheadError) as error:
        check(installed, issued, port)
    return str(error.value)


def test_masthead_issued_for_the_new_port_is_welcome(signed):
    assert check(signed, sign(inner_part(port=55000))) == []


def test_plain_masthead_may_follow_a_plain_one():
    assert check(plain(), plain(port=55000)) == []


def test_signed_masthead_may_follow_a_plain_one():
    assert check(plain(), sign(inner_part(port=55000))) == []


def test_plain_masthead_may_not_follow_a_signed_one(signed):
    assert refusal(signed, plain(port=55000)) == (
        "plain masthead without a signature, where the installed one is signed: clients would reject it. Have BESAdmin"
        " issue a masthead for port 55000 and pass that file unchanged.")
    assert check(signed, plain(port=55000), allow_invalid_signature=True) == []


@pytest.mark.parametrize("installed", [sign, lambda inner: plain()])
def test_broken_signature_is_refused_unless_allowed(installed):
    installed, edited = installed(inner_part()), with_port(parse(sign(inner_part())), 55000)
    assert refusal(installed, edited) == (
        "signed masthead whose signature is broken (the content is not what was signed: its sha256 digest differs):"
        " clients would reject it. Have BESAdmin issue a masthead for port 55000 and pass that file unchanged.")
    assert check(installed, edited, allow_invalid_signature=True) == []


def test_unchecked_signature_is_refused_unless_allowed(signed):
    issued = sign(inner_part(port=55000), *session_signer("masthead-ec", "ec"))
    assert refusal(signed, issued) == (
        "signed masthead whose signature cannot be checked here (only RSA (PKCS#1 v1.5) signatures are checked here). Have"
        " openssl check the file (openssl smime -verify -binary -noverify -in FILE -out /dev/null), and where it is"
        " successful allow it with allow_invalid_signature in that one run.")
    assert len(check(signed, issued, allow_invalid_signature=True)) == 1  # the other signer


def test_masthead_for_another_port_is_refused(signed):
    assert refusal(plain(), plain(port=55001)) == (
        "masthead issued for another port than 55000 (_PortNumber (line 3): 55001, X-Fixlet-Site-Registration-URL:"
        " 55001). Have BESAdmin issue a masthead for port 55000 and pass that file unchanged.")
    mixed = plain(port=55000).replace(b":55000/", b":52311/")
    assert "X-Fixlet-Site-Registration-URL: 52311" in refusal(plain(), mixed)
    assert "X-BES-Mirror-Download-URL: 52311" in refusal(signed, signed)


def test_masthead_of_another_deployment_is_refused():
    assert refusal(plain(), plain(host="other.example.test", port=55000)) == (
        "masthead of another deployment: its host is other.example.test, the installed one says bigfix.example.test."
        " Have BESAdmin issue a masthead for port 55000 and pass that file unchanged.")
    assert refusal(plain(), plain(serial="987654321", port=55000)).startswith(
        "masthead of another deployment: its serial number is 987654321, the installed one says 123456789.")
    assert check(plain(), plain(host="BigFix.Example.TEST", port=55000)) == []


def test_what_one_side_does_not_tell_is_a_warning():
    bare = b"_PortNumber=55000\n"
    assert check(plain(), bare) == [
        "the issued masthead names no host, so it was not compared: the other one says bigfix.example.test.",
        "the issued masthead names no serial number, so it was not compared: the other one says 123456789.",
    ]
    assert check(bare, plain(port=55000))[0].startswith("the installed masthead names no host")
    assert check(b"_PortNumber=52311\n", bare) == []


def test_another_signer_is_a_warning_that_names_both(signed, tmp_path):
    key, cert = make_signer(tmp_path, "new")
    assert check(signed, sign(inner_part(port=55000), key, cert)) == [
        "the issued masthead has another signer than the installed one: certificate sha256 %s, before %s. Clients that"
        " trust only the old one will reject it." % (
            certificate_sha256(cert), certificate_sha256(session_signer()[1]))]
