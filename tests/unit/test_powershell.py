# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PowerShell without a PowerShell: what lint finds in a script, and that host.ps1 is the one that was looked at.

What host.ps1 does is tested in tests/pester, which needs a PowerShell.
"""

import hashlib
import importlib.util
import os
import pathlib
import re
import sys

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.log_lines import LOG_TAIL
from tests.conftest import CHECKOUT

SCRIPT = pathlib.Path(CHECKOUT, "plugins", "plugin_utils", "_windows", "host.ps1")
PINNED = pathlib.Path(CHECKOUT, "tests", "windows", "host_ps1.sha256")
PESTER = sorted(pathlib.Path(CHECKOUT, "tests", "pester").glob("*.ps1"))

SOUND = """\
[CmdletBinding(SupportsShouldProcess)]
param(
    [string] $Request
)

$Limit = 5

function Get-Thing([string] $Name, [int] $Count) {
    # What it is.
    $first, $second = $Name -split '/', 2
    foreach ($part in @($first, $second)) {
        if ($part -and $Count -lt $Limit) {
            @{ name = $part; count = $Count }
        }
    }
}

if ($Request) {
    $found = @(Get-Thing $Request 1 | Where-Object { $_.count })
    $Ansible.Result = $found
}
"""


@pytest.fixture(scope="module")
def powershell():
    path = os.path.join(CHECKOUT, "tools", "_powershell.py")
    spec = importlib.util.spec_from_file_location("portshift_powershell", path)
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def test_a_sound_script_has_no_fault(powershell):
    assert powershell.faults(SOUND.encode()) == []


@pytest.mark.parametrize("line, fault", [
    # Syntax, and what is in PowerShell 6 and later alone.
    ("if ($Limit) { $a = 1", "does not parse"),
    ("$a = @{ b = 1", "does not parse"),
    ("$a = (1 + 2", "does not parse"),
    ("$a = $Limit ? 1 : 2", "does not parse, or is not in Windows PowerShell 5.1"),
    ("$a = $Limit ?? 2", "does not parse, or is not in Windows PowerShell 5.1"),
    ("$Limit ??= 2", "does not parse, or is not in Windows PowerShell 5.1"),
    ("$a = $Limit?.Length", "does not parse, or is not in Windows PowerShell 5.1"),
    ("$a = ${Limit}?[0]", "does not parse, or is not in Windows PowerShell 5.1"),
    ("Get-Thing a 1 && Get-Thing b 1", "&& is not in Windows PowerShell 5.1"),
    ("Get-Thing a 1 || Get-Thing b 1", "|| is not in Windows PowerShell 5.1"),
    ("@(1) | ForEach-Object -Parallel { $_ }", "-Parallel: only PowerShell 7 has it"),
    ("$a = ConvertFrom-Json -AsHashtable -InputObject '{}'", "-AsHashtable: only PowerShell 7 has it"),
    ("$a = ConvertFrom-Json -InputObject '{}' -DateKind String", "-DateKind: only PowerShell 7 has it"),
    ("$a = [semver] '1.0.0'", "[semver] is not in Windows PowerShell 5.1"),
    ("$a = [System.Text.Json.JsonDocument]::Parse('{}')", "is not in Windows PowerShell 5.1"),
    ("if ($IsWindows) { 1 }", "$IsWindows is not in Windows PowerShell 5.1"),
    ('$a = "x`u{2026}"', "has an escape that is not in Windows PowerShell 5.1"),
    ('$a = "`e[0m"', "has an escape that is not in Windows PowerShell 5.1"),
    # What is refused in either.
    ("@(1) | % { $_ }", "% is no function"),
    ("@(1) | ? { $_ }", "? is no function"),
    ("gci", "gci is no function"),
    ("Get-Thin a 1", "Get-Thin is no function"),
    ("netsh interface show", "netsh is no function"),
    ("Write-Host 'a'", "Write-Host: "),
    ("Invoke-Expression '1'", "Invoke-Expression: "),
    ('"a $(iex 1)"', "iex is no function"),
    ("Add-Type 'class A {}'", "Add-Type: "),
    ("Get-WmiObject Win32_Service", "Get-WmiObject: PowerShell 7 does not have it"),
    ("New-Object -ComObject x -At 3", "-At: a trigger that waits for the wall clock"),
    ("$a = '<TimeTrigger><StartBoundary>2026-01-01T00:00:00</StartBoundary></TimeTrigger>'", "waits for the wall clock"),
    ('$a = @"\n<CalendarTrigger>\n"@', "waits for the wall clock"),
    # What a misspelt name looks like.
    ("Get-Thing a 1 2", "Get-Thing has 2 parameters and is called with 3 arguments"),
    ("Get-Thing -Name a -Cuont 1", "Get-Thing has no parameter Cuont"),
    ("Get-Thing -Name a -Count 1 2", "Get-Thing has 2 parameters and is called with 3 arguments"),
    ("function Get-Three($A, $B, $C) { $A + $B + $C }\nGet-Three 1 2 3", "3 arguments without their names"),
    ("$a = $Limti", "$Limti is read and nowhere set"),
    ('$a = "x $Limti"', "$Limti is read and nowhere set"),
    ("$Limti.a = 1", "$Limti is read and nowhere set"),
    ("$host = 1", "$host is PowerShell's own"),
    ("function Get-Other([string] $Input) { 1 }", "$Input is PowerShell's own"),
    # Bytes.
    ("if ($Limit) {\n    1\n} else {\n    2\n}", "a brace that is not at the end of its line"),
    ("# caf\u00e9", "is not ASCII"),
    ("# " + "x" * 159, "has 161 columns, more than 160"),
    ("\t$a = 1", "has a tab"),
    ("$a = 1 ", "blanks at its end"),
    ("$a = 1\r", "has a carriage return"),
])  # fmt: skip
def test_a_fault_is_found_in_its_line(powershell, line, fault):
    before = SOUND.count("\n")
    found = powershell.faults((SOUND + line + "\n").encode())
    assert [what for number, what in found if fault in what and number > before], found


def test_a_script_ends_with_a_line_feed(powershell):
    assert "has no end" in powershell.faults(SOUND.rstrip("\n").encode())[0][1]


def test_tests_may_call_what_they_load_and_pester(powershell):
    text = b"Describe 'a' {\n    It 'b' { (Get-Thing x 1).name | Should -Be 'x' }\n}\n"
    assert powershell.faults(text)
    assert powershell.faults(text, [SOUND.encode()], of_tests=True) == []
    too_many = powershell.faults(text.replace(b"x 1", b"x 1 2"), [SOUND.encode()], of_tests=True)
    assert [line for line, _what in too_many] == [2]


def test_host_ps1_has_no_fault(powershell):
    assert powershell.faults(SCRIPT.read_bytes()) == []
    assert PESTER
    for path in PESTER:
        loaded = [other.read_bytes() for other in (SCRIPT, *PESTER) if other != path]
        assert powershell.faults(path.read_bytes(), loaded, of_tests=True) == [], path


def test_host_ps1_is_the_one_that_was_looked_at():
    """The model of a Windows host (tests/windows) does by hand what the script does, and names the same file."""
    assert hashlib.sha256(SCRIPT.read_bytes()).hexdigest() == PINNED.read_text().strip(), (
        "%s has changed: see whether the model of a Windows host in tests/windows still does what it does, and whether "
        "tests/pester has to be run again; then write its new sha256 into %s" % (SCRIPT.name, PINNED))


def test_host_ps1_reads_as_much_of_a_log_as_a_linux_host_does():
    assert "\n$LogLimit = %d\n" % LOG_TAIL in SCRIPT.read_text()


def test_host_ps1_does_nothing_where_it_is_loaded(powershell):
    """Below its functions there are constants, and what is done where there is a Request."""
    root = powershell.parsed(SCRIPT.read_bytes())
    statements = [one for node in root.children if node.type == "statement_list" for one in node.children]
    heads = [powershell.text_of(one).split("{")[0].strip() for one in statements if one.type == "if_statement"]
    assert heads == ["if ($Request)"]
    others = [powershell.text_of(one) for one in statements if one.type not in ("function_statement", "if_statement", "comment")]
    assert others and all(re.match(r"\$\w+ = (?:'[^']*'|\d+)(?:, '[^']*')?\Z", one) for one in others), others


def test_win_powershell_runs_it_in_check_mode():
    """What ansible.windows.win_powershell looks for, or else skips a script in check mode."""
    assert re.search(r"^\[CmdletBinding\(SupportsShouldProcess\)\]\nparam\($", SCRIPT.read_text(), re.MULTILINE)


def test_every_step_condition_and_outcome_of_the_contract_is_in_the_script():
    contract = SCRIPT.with_name("protocol.py").read_text()
    text = SCRIPT.read_text()
    words = {word for line in re.findall(r"^    (?:step|kind): Literal\[(.*)\]", contract, re.MULTILINE)
             for word in re.findall(r'"(\w+)"', line)}
    assert {"write", "stop", "wait", "log", "either"} <= words
    # What is neither tcp nor https is http.
    assert [word for word in sorted(words - {"http"}) if "'%s'" % word not in text] == []
