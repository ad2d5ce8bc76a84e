# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a diff may show of a recorded file, and what puts one back that has changed since: by what the file is."""

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._product_files import redacted, undone

NGINX = b"""server {
    listen 443 ssl;
    proxy_set_header Authorization "Basic hunter2";
}
"""
HUB = b"<HubDetails><Url>https://hub/api/</Url><E1>hunter2</E1></HubDetails>"
SETTINGS = b"[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\_Secret]\nvalue = hunter2\n"


@pytest.mark.parametrize("content", [
    NGINX, NGINX[:-2], b"server\n{\n proxy_set_header X hunter2;", b"  listen 443;\n password hunter2;\n",
    HUB, HUB[3:], HUB.decode().encode("utf-16"), b"\xef\xbb\xbf" + HUB, b"<!-- " + HUB,
])
def test_no_secret_is_shown_whatever_the_file_is_and_however_broken(content):
    shown = redacted(content)
    assert b"hunter2" not in shown and "hunter2" not in shown.decode("utf-16", "ignore")


def test_what_moved_is_shown():
    assert b"listen 443 ssl;" in redacted(NGINX) and b"https://hub/api/" in redacted(HUB)
    assert b"EnterpriseClient" in redacted(SETTINGS)


@pytest.mark.parametrize("before, moved, since", [
    (NGINX, NGINX.replace(b"443 ssl;", b"443 ssl;\n    listen 8443 ssl;"), (b"}", b"    gzip on;\n}")),
    (NGINX, NGINX.replace(b"443", b"8443"), (b"}", b"    gzip on;\n}")),
    (HUB, HUB.replace(b"hub/", b"hub:8443/"), (b"hunter2", b"anew")),
])
def test_the_move_alone_is_taken_out_of_a_file_that_has_changed_since(before, moved, since):
    assert undone(8443)(moved.replace(*since), before) == before.replace(*since)


def test_another_product_s_file_is_put_back_by_its_own_bytes_alone():
    assert undone(8443)(SETTINGS + b"\n", SETTINGS) is None
