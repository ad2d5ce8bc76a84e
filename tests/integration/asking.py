# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a firewall lets a caller in, asked from outside."""

import itertools

# Prints by which protocols a port answers.  Both are asked at once: a port that is shut lets each wait for its whole time.
ASK = """
import socket, sys, threading
address, port, own, first, said = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), set()
family = socket.AF_INET6 if ":" in address else socket.AF_INET

def tcp():
    try:
        socket.create_connection((address, port), 1, source_address=(own, 0)).close()
        said.add("tcp")
    except OSError:
        pass

def udp():
    for source in range(first, first + %d):
        with socket.socket(family, socket.SOCK_DGRAM) as asker:
            asker.settimeout(0.3)
            try:
                asker.bind((own, source))
                asker.connect((address, port))
                asker.send(b"hello")
                asker.recv(10)
                said.add("udp")
                break
            except OSError:
                pass

askers = [threading.Thread(target=ask) for ask in (tcp, udp)]
for asker in askers:
    asker.start()
for asker in askers:
    asker.join()
print(" ".join(sorted(said)))
"""
# A datagram may be lost on a busy machine, so it is sent again.  Each comes from a port that no other came from: a firewall
# that knows connections lets in for 30 s more each caller that has had an answer from there.
TIMES = 4
_SOURCES = itertools.count(10000, TIMES)


def asking(python, address, port, own=""):
    """The command that asks a port of `address`, from the asker's address `own` where it has several."""
    return [python, "-c", ASK % TIMES, address, str(port), own, str(next(_SOURCES))]
