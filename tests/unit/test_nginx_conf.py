# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The listens of a file of nginx's configuration: which ones count, where a twin goes, and what is refused."""

import contextlib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._nginx import conf as engine
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.tests.unit import growth

# As a hub on Linux has it: TLS ends at nginx, the application behind it.
FILE = b"""\
upstream hub {
    server 127.0.0.1:5000;
}

server {
    listen 443 ssl;
    listen [::]:443 ssl;   # IPv6
    server_name hub.example.test;
    ssl_certificate /etc/nginx/hub.crt;

    location / {
        proxy_pass http://hub;
        proxy_set_header Authorization "Basic c2VjcmV0";
    }
}
"""
OPENED = FILE.replace(b"    listen 443 ssl;\n", b"    listen 443 ssl;\n    listen 8443 ssl;\n").replace(
    b"# IPv6\n", b"# IPv6\n    listen [::]:8443 ssl;\n")
CLOSED = FILE.replace(b"443 ssl;   # IPv6", b"443 ssl;").replace(b"443 ssl", b"8443 ssl")


def server(*lines):
    return b"server {\n" + b"".join(b"    " + line + b"\n" for line in lines) + b"}\n"


def found(data):
    return [(listen.host, listen.port, listen.parameters) for listen in engine.listens(data)]


def sentence(call, *arguments):
    with pytest.raises(EngineError) as refused:
        call(*arguments)
    return str(refused.value)


# --- reading

@pytest.mark.parametrize("text, host, port, parameters", [
    (b"443", "*", 443, []),
    (b"443 ssl http2", "*", 443, ["ssl", "http2"]),
    (b"*:443", "*", 443, []),
    (b"0.0.0.0:443 ssl", "*", 443, ["ssl"]),
    (b"192.0.2.7:443", "192.0.2.7", 443, []),
    (b"[::]:443 ssl ipv6only=on", "[::]", 443, ["ssl", "ipv6only=on"]),
    (b"[2001:DB8::1]:443", "[2001:db8::1]", 443, []),
    (b"Hub.example.test:443", "hub.example.test", 443, []),
    (b"192.0.2.7", "192.0.2.7", 80, []),
    (b"[::]", "[::]", 80, []),
    (b"*", "*", 80, []),
    (b"localhost default_server", "localhost", 80, ["default_server"]),
    (b"0443", "*", 443, []),
    (b'"443" ssl', "*", 443, ["ssl"]),
    (b"'[::]:443' 'ssl'", "[::]", 443, ["ssl"]),
    (b"443\n        ssl # and so on;\n        http2", "*", 443, ["ssl", "http2"]),
    (b"443 # }\n   ssl", "*", 443, ["ssl"]),
])
def test_an_address_is_read_as_nginx_reads_it(text, host, port, parameters):
    assert found(server(b"listen " + text + b";")) == [(host, port, parameters)]


@pytest.mark.parametrize("data", [
    b"", b"# server { listen 443; }\n", b"upstream a {\n    server 127.0.0.1:443;\n}\n",
    b"stream {\n    server { listen 443; }\n}\n", b"mail {\n    server { listen 443; }\n}\n",
    b"listen 443;\n", b"server { location / { listen 443; } }\n", b"server { listen unix:/run/hub.sock; }\n",
    b"server { # listen 443;\n}\n", b"server { return 200 'listen 443;'; }\n", b'server { return 200 "{ listen 443; }"; }\n',
    b"server { set $x \\;listen\\ 443\\;; }\n", b"server { content_by_lua_block { -- }\n ngx.say('listen 443;}') } }\n",
    b"server name { listen 443; }\n", b"http { stream { server { listen 443; } } }\n",
])
def test_what_is_no_listen_of_a_web_server_does_not_count(data):
    assert engine.listens(data) == []


@pytest.mark.parametrize("before", [
    b'location ~ "^/[a-z]{3}$" { }', b"set $a ${b}c;",
    b"if ($http_x ~* 'a{2}') { return 400; }", b"log_format x '\\'}';", b'add_header X "a\\"};{";',
    b"add_header X a#b;", b"add_header X a'b;",
    b"content_by_lua_block {\n  local t = { a = '}', b = \"{\", c = [[ } ]], d = [==[ ]] } ]==] } -- }\n  --[[ }}} ]]\n }",
    b"set_by_lua_block $x { return '}' }", b"# it's a comment with { and \" in it", b"return 301 https://$host$request_uri;",
    b"rewrite ^/a\\;b$ /c;", b"default_type\ttext/plain;\r", b"a 'b'; c \"d\";",
])
def test_words_end_where_they_end_for_nginx(before):
    data = server(before, b"listen 443 ssl;", b"server_name x;")
    assert found(data) == [("*", 443, ["ssl"])]
    assert engine.with_twins(data, 443, 8443) == server(before, b"listen 443 ssl;", b"listen 8443 ssl;", b"server_name x;")


def test_the_whole_configuration_is_read_too():
    data = (b"user www-data;\nevents { worker_connections 768; }\nstream { server { listen 443; } }\nhttp {\n"
            b"    server {\n\tlisten 443;\n    }\n}\n")
    assert [(listen.port, listen.line) for listen in engine.listens(data)] == [(443, 6)]


def test_ports_of_other_files_are_found_in_every_context():
    assert engine.every_port(b"listen 443;\n") == {443}
    assert engine.every_port(b"stream { server { listen 8443; } }\nserver { listen 81-83; }\n") == {8443, 81, 82, 83}
    assert engine.every_port(b"server { listen $x; listen 82; listen unix:/x; listen; }") == {82}
    assert engine.every_port(b"server { listen 82;") == set()


def test_ports_of_what_is_no_web_server_are_told_from_the_others():
    assert engine.other_ports(b"http{server{listen 443;}} stream{server{listen 8443;listen $x;listen 81-82;}}") == {81, 82, 8443}
    assert engine.other_ports(FILE) == engine.other_ports(b"stream { server { listen 82;") == set()
    # Whatever else the others have.
    data = b"http{server{listen 443;}}stream{server{listen 82;}}"
    assert engine.with_twins(data, 443, 8443) == b"http{server{listen 443; listen 8443;}}stream{server{listen 82;}}"


# --- editing

def test_each_listen_gets_a_twin_beside_it_and_loses_it_again():
    assert engine.with_twins(FILE, 443, 8443) == OPENED
    assert engine.with_twins(OPENED, 443, 8443) == OPENED
    assert engine.without(OPENED, 8443) == FILE
    assert engine.without(OPENED, 443) == CLOSED
    assert engine.without(FILE, 8443) == FILE


def test_where_the_old_port_is_gone_already_nothing_is_left_to_be_done():
    assert engine.with_twins(CLOSED, 443, 8443) == CLOSED


@pytest.mark.parametrize("before, opened, closed", [
    (b"server { listen 443 ssl; root /x; }", b"server { listen 443 ssl; listen 8443 ssl; root /x; }",
     b"server { listen 8443 ssl; root /x; }"),
    (b"server{listen 443;}", b"server{listen 443; listen 8443;}", b"server{ listen 8443;}"),
    (b"server {\n\tlisten 443; listen [::]:443;\n}",
     b"server {\n\tlisten 443; listen 8443; listen [::]:443; listen [::]:8443;\n}",
     b"server {\n\tlisten 8443; listen [::]:8443;\n}"),
    (b"server {\r\n  listen 443;\r\n}\r\n", b"server {\r\n  listen 443;\r\n  listen 8443;\r\n}\r\n",
     b"server {\r\n  listen 8443;\r\n}\r\n"),
    (b"server {\n  listen 443 ssl # a\n    http2; # b\n}",
     b"server {\n  listen 443 ssl # a\n    http2; # b\n  listen 8443 ssl # a\n    http2;\n}",
     b"server {\n  listen 8443 ssl # a\n    http2;\n}"),
    (b"server {\n  listen 443; }", b"server {\n  listen 443; listen 8443; }", b"server {\n  listen 8443; }"),
    (b"server {\n  root /x; listen 443;\n}", b"server {\n  root /x; listen 443; listen 8443;\n}",
     b"server {\n  root /x; listen 8443;\n}"),
    (b"server { listen \"443\" ssl; }", b"server { listen \"443\" ssl; listen \"8443\" ssl; }",
     b"server { listen \"8443\" ssl; }"),
    (b"server { listen 443; listen 80; }", b"server { listen 443; listen 8443; listen 80; }",
     b"server { listen 8443; listen 80; }"),
    (b"http {\n server {\n  listen 443;\n }\n}", b"http {\n server {\n  listen 443;\n  listen 8443;\n }\n}",
     b"http {\n server {\n  listen 8443;\n }\n}"),
    (b"server { listen 443 quic reuseport; listen 443 ssl; }",
     b"server { listen 443 quic reuseport; listen 8443 quic reuseport; listen 443 ssl; listen 8443 ssl; }",
     b"server { listen 8443 quic reuseport; listen 8443 ssl; }"),
])
def test_indentation_line_ends_and_parameters_are_kept(before, opened, closed):
    assert engine.with_twins(before, 443, 8443) == opened
    assert engine.without(opened, 8443) == before
    assert engine.without(opened, 443) == closed


@pytest.mark.parametrize("address, twin", [
    (b"192.0.2.7", b"192.0.2.7:8080"), (b"[::]", b"[::]:8080"), (b"localhost", b"localhost:8080"), (b"*", b"*:8080"),
    (b"'[::1]'", b"'[::1]:8080'"), (b"80", b"8080"), (b"*:80", b"*:8080"),
])
def test_an_address_without_a_port_gets_one(address, twin):
    data = server(b"listen " + address + b" default_server;")
    assert engine.with_twins(data, 80, 8080) == server(b"listen " + address + b" default_server;",
                                                       b"listen " + twin + b" default_server;")


def test_every_server_on_the_old_port_gets_a_twin():
    data = server(b"listen 443 ssl;", b"server_name a;") + server(b"listen 443 ssl;", b"server_name b;") + server(b"listen 80;")
    opened = data.replace(b"    listen 443 ssl;\n", b"    listen 443 ssl;\n    listen 8443 ssl;\n")
    assert engine.with_twins(data, 443, 8443) == opened
    assert engine.without(opened, 8443) == data


def test_a_twin_that_is_missing_is_added_to_those_that_are_there():
    data = server(b"listen 443 ssl;", b"listen 8443 ssl http2;", b"listen [::]:443 ssl;")
    assert engine.with_twins(data, 443, 8443) == data.replace(b"[::]:443 ssl;\n", b"[::]:443 ssl;\n    listen [::]:8443 ssl;\n")


def test_a_socket_of_the_file_system_is_a_listen_that_a_server_may_be_left_with():
    assert engine.without(server(b"listen 443;", b"listen unix:/run/x;"), 443) == server(b"listen unix:/run/x;")


# --- refusing

@pytest.mark.parametrize("data, words", [
    (b"server { listen 443;", "the block that begins in line 1 has no end; a closing brace is missing"),
    (b"server { listen 443 }", "closing brace in line 1 that comes before the semicolon of line 1"),
    (b"server { listen 443; }\n}\n", "closing brace in line 2 that closes nothing"),
    (b"server { listen 443; }\nroot /x", "the directive that begins in line 2 has no end; a semicolon is missing"),
    (b"server {\n add_header X 'a;\n listen 443;\n}\n", "the quotation mark in line 2 has no second one"),
    (b"server {\n add_header X 'a'b;\n listen 443;\n}\n", "in line 2 something follows a quotation mark without a blank"),
    (b"server {\n;\n listen 443;\n}\n", "there is a semicolon in line 2 with nothing before it"),
    (b"{ }\nserver { listen 443; }", "there is an opening brace in line 1 with nothing before it"),
    (b"server { listen 443; }\nx \\", "the file ends in line 2 in the middle of a word"),
    (b"server {\n content_by_lua_block { x = '}' \n listen 443;\n", "the block of Lua that begins in line 2 has no end"),
    (b"server {\n listen {{ port }};\n}\n", "there is an opening brace in line 2 with nothing before it"),
    (b"server {\n listen $port ssl;\n}\n", "the listen in line 2 has a variable ($port)"),
    (b"server {\n listen ${HUB_PORT};\n}\n", "the listen in line 2 has a variable (${HUB_PORT})"),
    (b"server {\n listen;\n}\n", "the listen in line 2 names neither an address nor a port"),
    (b"server {\n listen 70000;\n}\n", "the listen in line 2 names port 70000, which is none"),
    (b"server {\n listen 443/x;\n}\n", "the listen in line 2 has an address that can't be read: 443/x"),
    (b"server {\n listen a\\\"b:443;\n}\n", "the listen in line 2 has escaped characters in its address"),
    (b"server {\n listen 400-450;\n}\n", "the listen in line 2 has a range of ports (400-450) that holds 443"),
    (b"server {\n listen 443;\n listen *:8000-9000;\n}\n",
     "the listen in line 3 has a range of ports (*:8000-9000) that holds 8443"),
    (b"server {\n listen 443;\n}\nserver {\n listen 8443;\n}\n",
     "another server in this file listens on port 8443 already (line 5), and which one would answer there could not be told"),
    (b"server {\n listen 443 ssl;\n listen 8443;\n}\n",
     "the listens in lines 2 (443 ssl) and 3 (8443) are of one server and don't speak the same protocol"),
    (b"server {\n listen 80;\n listen 81;\n}\n",
     "no server in this file listens on port 443 (they listen on 80, 81). Name the file"),
    (b"server {\n root /x;\n include listen.conf;\n}\n", "(there is no listen in it; it takes in listen.conf)"),
    (b"upstream x { }\n", "there is no server of the http context in this file. Name the file that has the server with path"),
    (b"stream { server { listen 443; } }\n", "those of stream and mail don't count"),
    (b"http{server{listen 443 ssl;}}\nstream{server{listen 8443;}}\n", "something else than a web server, such as stream or "
     "mail, listens on port 8443 in this file already (line 2), and nginx could not give the port to both; choose another port, "
     "or remove that listen"),
    (b"mail{server{listen 192.0.2.1:8400-8500;}}\nhttp{server{listen 443;}}", "in this file already (line 1)"),
    (b"server{listen 443;listen 8443;}\nlisten 8443;\n", "in this file already (line 2)"),
    (b"a{" * 101 + b"}" * 101 + b"server{listen 443;}", "more than 100 blocks stand inside of each other in line 1, where a few "
     "were expected: it is no file of nginx's configuration; look where it comes from"),
    (b"#" + b"x" * engine.LIMIT, "the file has 1048577 bytes, where a few thousand were expected"),
])
def test_a_file_that_leaves_room_for_doubt_is_refused(data, words):
    assert words in sentence(engine.with_twins, data, 443, 8443)


def test_a_server_that_answers_on_80_by_itself_is_not_made_to_stop():
    assert "One without any listen answers there by itself" in sentence(engine.with_twins, server(b"root /x;"), 80, 8080)


@pytest.mark.parametrize("beside, port, words", [
    (443, 443, "port and beside are both 443"), (0, 8443, "beside is 0, which is not a port number"),
    (443, 65536, "port is 65536, which is not a port number"),
])
def test_ports_that_can_not_be_are_refused(beside, port, words):
    assert words in sentence(engine.with_twins, FILE, beside, port)


def test_no_server_is_left_without_a_listen():
    told = sentence(engine.without, FILE, 443)
    assert told.startswith("the server in line 5 would have no listen left without port 443 (lines 6, 7), and nginx would let it "
                           "answer on port 80")
    assert "(line 8)" in sentence(engine.without, server(b"listen 80;", b"listen 81;") * 1 + server(
        b"x y;", b"a b;", b"listen 81;"), 81)


# What others put in after the twins were made.
ADDED = b"server {\n    listen 80;\n    listen 443 ssl;\n    server_name portal.example.test;\n}\n"
AGAIN = "Run the migration again, which gives it one, or take "


@pytest.mark.parametrize("data, told", [
    (OPENED + ADDED, "the server in line 18 (portal.example.test) listens on port 443 (line 20) and has no such listen on port "
     "8443, so it could not be reached there any more. " + AGAIN + "that listen out by hand"),
    # No refusal for want of another listen, whose way out would be the next one's reason.
    (OPENED + server(b"listen 443 ssl;"), "the server in line 18 listens on port 443 (line 19) and has no such listen on port "
     "8443, so it could not be reached there any more. " + AGAIN + "that server out by hand"),
    (OPENED.replace(b"    listen 8443 ssl;\n", b""), "the server in line 5 (hub.example.test) listens on port 443 (line 6)"),
    (server(b"listen 443;", b"listen [::]:443;", b"listen 192.0.2.7:8443;"), "(lines 2, 3) and has no such listen on port 8443, "
     "so it could not be reached there any more. " + AGAIN + "those listens out by hand"),
    # After close: those that have left the old port keep the new one from being put in.
    (CLOSED + ADDED, "Give it one by hand, or take that listen out by hand"),
    (server(b"listen 443 quic;", b"listen 443 ssl;", b"listen 8443 ssl;"), "listens on port 443 (line 2)"),
    (OPENED + server(b"listen 8000-9000;"), "has a range of ports (8000-9000) that holds 8443"),
    # What has every address of one family has none of the other, and it is not known which addresses a name has.
    (server(b"listen 192.0.2.7:443;", b"listen [::1]:443;", b"listen 8443;"), "listens on port 443 (line 3)"),
    (server(b"listen 192.0.2.7:443;", b"listen [::1]:443;", b"listen [::]:8443;"), "listens on port 443 (line 2)"),
    (server(b"listen hub.example.test:443;", b"listen 8443;", b"listen [::]:8443;"), "listens on port 443 (line 2)"),
    (server(b"listen 443;", b"listen 192.0.2.7:8443;"), "listens on port 443 (line 2)"),
    (server(b"listen 443 quic;", b"listen 192.0.2.7:443;", b"listen 8443 quic;"), "listens on port 443 (line 3)"),
    # nginx asks the other server for each client that comes to that address.
    (server(b"listen 192.0.2.7:443;", b"listen 8443;") + server(b"listen 192.0.2.7:8443;"), "listens on port 443 (line 2)"),
])
def test_a_server_without_the_port_that_stays_does_not_lose_the_other(data, told):
    assert told in sentence(engine.without, data, 443, 8443)


@pytest.mark.parametrize("data, after", [
    (OPENED, CLOSED), (CLOSED, CLOSED), (OPENED + server(b"listen 81;"), CLOSED + server(b"listen 81;")),
    (server(b"listen 0.0.0.0:443 ssl;", b"listen *:8443 ssl;"), server(b"listen *:8443 ssl;")),
    (engine.with_twins(OPENED + ADDED, 443, 8443), CLOSED + ADDED.replace(b"443", b"8443")),
    # One that has every address has that one too.
    (server(b"listen 443 ssl;", b"listen 192.0.2.7:443 ssl;", b"listen 8443 ssl;"), server(b"listen 8443 ssl;")),
    (server(b"listen [2001:db8::7]:443;", b"listen [::]:8443;"), server(b"listen [::]:8443;")),
    (server(b"listen 443;", b"listen [::]:443;", b"listen [::0]:8443 ipv6only=off;"), server(b"listen [::0]:8443 ipv6only=off;")),
    (server(b"listen 192.0.2.7:443;", b"listen 8443;") + server(b"listen 192.0.2.8:8443;"),
     server(b"listen 8443;") + server(b"listen 192.0.2.8:8443;")),
    # Which words stay is nothing that the port that goes has a say in.
    (server(b"listen 443 ssl;", b"listen 8443 ssl proxy_protocol;"), server(b"listen 8443 ssl proxy_protocol;")),
    (server(b"listen 443 ssl;", b"listen 8443;"), server(b"listen 8443;")),
])
def test_servers_with_the_port_that_stays_lose_the_other(data, after):
    assert engine.without(data, 443, 8443) == after


@pytest.mark.parametrize("beside, words", [(443, "port and beside are both 443"), (0, "beside is 0, which is not a port number")])
def test_a_port_that_can_not_stay_is_refused(beside, words):
    assert words in sentence(engine.without, OPENED, 443, beside)


@pytest.mark.parametrize("names, usable", [
    (b"hub.example.test", ["hub.example.test"]), (b"Hub hub HUB.Example.test", ["hub", "hub.example.test"]),
    (b"_", []), (b'""', []), (b"'' hub", ["hub"]), (b"*.example.test .example.test hub.*", []), (b"~^hub[0-9]+$ hub1", ["hub1"]),
    (b"$hostname", []), (b"192.0.2.7 [2001:db8::1] hub 192.0.2.8", ["hub", "192.0.2.7", "192.0.2.8"]),
    (b"my_hub 'hub-2.example.test'", ["my_hub", "hub-2.example.test"]), (b"hub.example.test.", []), (b"b\xc3\xbccher a", ["a"]),
    (b"a" * 64, []), (b"\n  # names;\n  a # first\n  b", ["a", "b"]), (b"", []),
])
def test_a_name_is_usable_where_a_client_can_ask_by_it(names, usable):
    assert engine.server_names(server(b"listen 443;", b"server_name " + names + b";"), 443) == usable


def test_names_are_those_of_the_servers_with_the_port():
    data = (server(b"listen 80;", b"server_name old;") + server(b"listen 443;", b"server_name b;", b"server_name a;")
            + server(b"listen [::]:443;", b"server_name c b;") + b"stream { server { listen 443; server_name d; } }\n")
    assert engine.server_names(data, 443) == ["b", "a", "c"]
    assert engine.server_names(data, 80) == ["old"]
    assert engine.server_names(data) == engine.server_names(data, 81) == ["old", "b", "a", "c"]


def test_a_diff_shows_the_listens_and_nothing_that_may_be_secret():
    assert engine.shown(OPENED) == (b"server {\n    listen 443 ssl;\n    listen 8443 ssl;\n    listen [::]:443 ssl;\n"
                                    b"    listen [::]:8443 ssl;\n    ...\n}\n")
    assert engine.shown(b"server {") == b"(a file that can't be read)\n"


def test_without_a_port_to_stand_beside_the_listen_has_to_be_there():
    assert engine.with_twins(CLOSED, None, 8443) == CLOSED
    assert sentence(engine.with_twins, FILE, None, 8443) == (
        "no server in this file listens on port 8443 (they listen on 443). Name the file that has that listen with path, or with "
        "beside the port whose listens are to get a twin")


@pytest.mark.parametrize("moved", [OPENED, CLOSED, FILE])
def test_the_move_is_taken_out_of_a_file_that_others_changed_since(moved):
    changed = moved.replace(b"location / {", b"client_max_body_size 9m;\n\n    location / {")
    back = engine.moved_back(changed, FILE, 8443)
    assert b"client_max_body_size 9m;" in back and b"8443" not in back
    assert sorted(found(back)) == sorted(found(FILE))


@pytest.mark.parametrize("now, before", [
    (OPENED, OPENED), (OPENED.replace(b"listen 443 ssl;", b"listen 444 ssl;"), FILE), (b"server {", FILE), (OPENED, b"server {"),
    (b"server { listen 81; }", FILE), (OPENED.replace(b"8443 ssl", b"8443"), FILE.replace(b"[::]:443 ssl", b"[::]:443")),
])
def test_a_file_whose_listens_are_not_what_the_move_made_of_them_is_left_alone(now, before):
    assert engine.moved_back(now, before, 8443) is None


@pytest.mark.parametrize("before, piece, times, behind", [
    (b"", b"[[", 100000, b""), (b"a_by_lua_block { ", b"--[[", 50000, b""), (b"", b"{", 300000, b""), (b"", b"a ", 300000, b""),
    (b'"', b"\\", 500000, b""), (b"", b"$", 500000, b";"), (b"server { ", b"listen 443;", 3000, b"}"), (b"", b"#\n", 300000, b""),
])
def test_a_hostile_file_takes_no_square_of_its_length(before, piece, times, behind):
    def read(count):
        with contextlib.suppress(EngineError):
            engine.with_twins(before + piece * count + behind, 443, 8443)

    eighth, whole = (growth.seconds(read, count) for count in (times // growth.SHARE, times))
    assert growth.is_a_line(eighth, whole), (eighth, whole)


def servers(form, count):
    return b"".join(form % {b"n": number} for number in range(count))


SERVER_FORMS = {
    "a line for each listen": b"server {\n    listen 10.0.%(n)d.1:443 ssl;  # the old one\n    listen 10.0.%(n)d.1:8443 ssl;\n"
                              b"    server_name s%(n)d.example.test;\n}\n",
    "all on one line": b"server { listen 10.0.%(n)d.1:443; listen 10.0.%(n)d.1:8443; server_name s%(n)d.example.test; } ",
    "two addresses on a line": b"server { listen 443; listen [::]:443; listen 8443; listen [::]:8443; server_name s%(n)d; }\n",
    "one server": b"    listen 10.0.%(n)d.1:443 ssl;\n    listen 10.0.%(n)d.1:8443 ssl;\n    server_name s%(n)d.example.test;\n",
    "one server on one line": b"listen 10.0.%(n)d.1:443; listen 10.0.%(n)d.1:8443; server_name s%(n)d.example.test; ",
    "one server, every address stays": b"    listen 10.0.%(n)d.1:443 ssl;\n    listen [::%(n)x]:443;\n    listen *:8443;\n"
                                       b"    listen [::]:8443;\n",
}
FUNCTIONS = {
    "without": lambda data: engine.without(data, 443, 8443),
    "without what stays": lambda data: engine.without(data, 443),
    "with_twins": lambda data: engine.with_twins(data, 8443, 9443),
    "with_twins refused": lambda data: sentence(engine.with_twins, data + b"server { listen 9443; }", 8443, 9443),
    "without refused": lambda data: sentence(engine.without, data + b"server { listen 443; listen 81; }", 443, 8443),
    "moved_back": lambda data: engine.moved_back(
        data.replace(b":443", b":9443").replace(b"listen 443", b"listen 9443"), data, 9443),
}


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
@pytest.mark.parametrize("form", sorted(SERVER_FORMS))
def test_a_file_of_many_servers_takes_no_square_of_their_number(form, function):
    def cost(count):
        data = servers(SERVER_FORMS[form], count)
        return growth.seconds(FUNCTIONS[function], data if b"server {" in data else b"server {\n" + data + b"}\n")

    eighth, whole = (cost(count) for count in (800 // growth.SHARE, 800))
    assert growth.is_a_line(eighth, whole), (eighth, whole)


def test_names_take_no_square_of_their_number():
    def cost(count):
        return growth.seconds(engine.server_names, b"server { server_name %s; }" % servers(b"s%(n)d.test ", count))

    eighth, whole = (cost(count) for count in (16000 // growth.SHARE, 16000))
    assert growth.is_a_line(eighth, whole), (eighth, whole)


def test_a_range_of_ports_costs_what_a_port_does():
    def cost(last):
        return growth.seconds(engine.every_port, servers(b"server { listen 1%%(n)04d-%d; }" % last, 1000))

    narrow, wide = cost(11000), cost(60000)
    assert growth.is_a_line(narrow, wide), (narrow, wide)


@pytest.mark.parametrize("before, after", [
    (b"server { listen 443; listen [::]:443; listen 81; }", b"server { listen 81; }"),
    (b"server { listen 81; listen 443;  listen [::]:443;\tserver_name a; }", b"server { listen 81;\tserver_name a; }"),
    (b"server {\n  listen 443; listen [::]:443; # both\n  listen 81;\n}", b"server {\n  listen 81;\n}"),
    (b"server {\n  listen 443; server_name a; listen [::]:443; # one\n  listen 81;\n}",
     b"server {\n  server_name a; # one\n  listen 81;\n}"),
    (b"server {\n  listen 443; listen [::]:443; server_name a;\n  listen 81;\n}",
     b"server {\n  server_name a;\n  listen 81;\n}"),
    (b"server {\r\n  listen 443\r\n    ssl; \t listen\n [::]:443;\r\n  listen 81;\r\n}", b"server {\r\n  listen 81;\r\n}"),
    (b"server { listen 81; listen 443 ;listen [::]:443;}server { listen 443;listen 82;}",
     b"server { listen 81;}server {listen 82;}"),
    (b"server { listen 81;\n  listen 443;}", b"server { listen 81;\n  }"),
])
def test_listens_that_share_a_line_all_go(before, after):
    assert engine.without(before, 443) == after


@pytest.mark.parametrize("data", [
    b"a{" * 16000 + b"}" * 16000, b"a{" * 100 + b"b{c;}" * 5000 + b"}" * 100, b"a{" * 100 + b"c;" * 10000 + b"}" * 100,
])
def test_a_deep_file_costs_memory_by_its_bytes(data):
    for call in (engine.every_port, engine.includes, engine.other_ports, lambda content: engine.with_twins(content, 443, 8443)):
        tracemalloc.start()
        try:
            call(data)
        except EngineError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 20 * 1024 * 1024


def test_a_file_with_blocks_in_blocks_is_read():
    deep = b"a{" * 100 + b"listen 82;include x;" + b"}" * 100 + b"server{listen 443;}"
    assert engine.every_port(deep) == {82, 443} and engine.includes(deep) == ["x"]
    assert engine.with_twins(deep, 443, 8443) == deep[:-1] + b" listen 8443;}"
    # What can't be read says nothing.
    assert engine.every_port(b"a{" + deep + b"}") == set() and engine.includes(b"a{" + deep + b"}") == []


# --- properties

BLANKS = st.sampled_from([b" ", b"\n", b"\t", b"\r\n", b"  # a comment; with { and }\n", b"\n\n    "])
# Of each row one at most: nginx takes no address twice.
ADDRESSES = [[b"443", b"*:443", b'"443"', b"0.0.0.0:443"], [b"[::]:443", b"'[::]:0443'"], [b"192.0.2.7:443"],
             [b"hub.example.test:443"]]
OTHERS = st.sampled_from([
    b"root /x;", b"location / { proxy_pass http://a:443; }", b"add_header X 'listen 443;';", b"set $a ${b};",
    b"listen unix:/run/x;",
    b"content_by_lua_block { --}\n x = '}' }", b"server_name \xff\xc3\xa9;", b"# listen 443;\n", b"listen 81;",
    b"listen 192.0.2.9;"])


@st.composite
def configurations(draw):
    parts = [draw(BLANKS)]
    for _server in range(draw(st.integers(1, 3))):
        parts += [b"server", draw(st.sampled_from([b" ", b"\n", b""])), b"{"]
        for row in draw(st.permutations(ADDRESSES + [None] * 3))[:draw(st.integers(1, 6))]:
            parts.append(draw(st.one_of(BLANKS, st.just(b""))))
            if row:
                parts += [b"listen", draw(BLANKS), draw(st.sampled_from(row))]
                words = st.sampled_from([b"ssl", b"http2", b"'so_keepalive=on'"])
                parts += [draw(BLANKS) + word for word in draw(st.lists(words))]
                parts += [draw(st.one_of(BLANKS, st.just(b""))), b";"]
            else:
                parts.append(draw(OTHERS))
        parts += [draw(st.one_of(BLANKS, st.just(b""))), b"}", draw(BLANKS)]
    return b"".join(parts)


def decoded(data):
    return [(listen.host, listen.port, listen.parameters) for listen in engine.listens(data)]


@given(configurations())
def test_adding_touches_nothing_else_and_removing_restores_the_bytes(data):
    before = decoded(data)
    if not any(port == 443 for unused, port, unused_too in before):
        assert sentence(engine.with_twins, data, 443, 8443)
        return
    after = engine.with_twins(data, 443, 8443)
    assert sorted(decoded(after)) == sorted(before + [(host, 8443, words) for host, port, words in before if port == 443])
    assert engine.with_twins(after, 443, 8443) == after
    # What was there is there still, in its order, with nothing but the new directives between.
    spans = [listen.span for listen in engine.listens(after) if listen.port == 8443]
    assert engine.without(after, 8443) == data
    rest = b"".join(after[start:end] for start, end in zip([0] + [span[1] for span in spans],
                                                           [span[0] for span in spans] + [len(after)]))
    assert b"".join(rest.split()) == b"".join(data.split())


@given(configurations())
def test_removing_the_old_port_leaves_the_others_as_they_were(data):
    before = decoded(data)
    if not any(port == 443 for unused, port, unused_too in before):
        return
    closed = engine.without(engine.with_twins(data, 443, 8443), 443)
    assert engine.without(engine.with_twins(data, 443, 8443), 443, 8443) == closed
    assert " and has no such listen on port 8443, " in sentence(engine.without, data, 443, 8443)
    assert sorted(decoded(closed)) == sorted((host, 8443 if port == 443 else port, words) for host, port, words in before)
    assert engine.with_twins(closed, 443, 8443) == closed
    # And back: the old port beside the new one, then alone.
    assert sorted(decoded(engine.without(engine.with_twins(closed, 8443, 443), 8443))) == sorted(before)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_with_a_sentence(data):
    for content in (data, b"server { listen 443; " + data + b"}"):
        try:
            after = engine.with_twins(content, 443, 8443)
        except EngineError as err:
            assert str(err)
        else:
            assert engine.without(after, 8443) == engine.without(content, 8443)
