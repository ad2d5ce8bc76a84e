# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Tests of plugins/plugin_utils/_windows/host.ps1.  README.md beside this file says how to run them, and what they prove.

BeforeDiscovery {
    $OnWindows = [IO.Path]::DirectorySeparatorChar -eq '\'
}

BeforeAll {
    $Source = Join-Path $PSScriptRoot '../../plugins/plugin_utils/_windows/host.ps1'
    # Where there is no Windows, there is nothing to put a double in the place of.
    foreach ($name in 'Get-CimInstance', 'Get-Service') {
        if (-not (Get-Command $name -ErrorAction SilentlyContinue)) {
            New-Item -Path "function:global:$name" -Value { $null } | Out-Null
        }
    }
    . (Join-Path $PSScriptRoot 'doubles.ps1')
    . $Source
    # For a mock that lets a call through.
    $script:RealSet = ${function:Set-Setting}
    $script:RealStop = ${function:Stop-ServiceInTime}
    $script:RealStart = ${function:Start-ServiceInTime}
    $script:RealUndo = ${function:Undo-Setting}
}

Describe 'what is loaded' {
    It 'does nothing without a Request' {
        $before = @([IO.Directory]::GetFileSystemEntries($TestDrive)).Count
        . $Source
        @([IO.Directory]::GetFileSystemEntries($TestDrive)).Count | Should -Be $before
    }

    It 'finds its own text' {
        Get-ScriptText | Should -BeExactly ([IO.File]::ReadAllText($Source))
    }
}

Describe 'as win_powershell runs it' {
    BeforeAll {
        function Invoke-AsModule([string] $Mode, [object] $Parameters) {
            $state = [Management.Automation.Runspaces.InitialSessionState]::CreateDefault2()
            $state.LanguageMode = $Mode
            $runspace = [Management.Automation.Runspaces.RunspaceFactory]::CreateRunspace($state)
            $runspace.Open()
            $ansible = New-Object PSObject -Property @{ Result = @{}; Changed = $true; Failed = $false; CheckMode = $false }
            $runspace.SessionStateProxy.SetVariable('Ansible', $ansible)
            $shell = [Management.Automation.PowerShell]::Create()
            $shell.Runspace = $runspace
            $null = $shell.AddScript([IO.File]::ReadAllText($Source)).AddParameters($Parameters)
            $null = $shell.Invoke()
            $errors = @($shell.Streams.Error)
            $runspace.Dispose()
            @{ ansible = $ansible; errors = $errors }
        }
    }

    It 'answers a read, in check mode too' {
        foreach ($check in $false, $true) {
            $ran = Invoke-AsModule 'FullLanguage' @{ Request = '{"version": 1, "verb": "read", "wanted": {}}'; Confirm = $false; WhatIf = $check }
            $ran.errors | Should -BeNullOrEmpty
            $ran.ansible.Changed | Should -BeFalse
            $ran.ansible.Result.version | Should -Be 1
            $ran.ansible.Result.outcome | Should -Be 'none'
            # Elsewhere there is no registry to read.
            $ran.ansible.Result.ok | Should -Be ([IO.Path]::DirectorySeparatorChar -eq '\')
        }
    }

    It 'says that it is in constrained language mode, and no more' {
        $ran = Invoke-AsModule 'ConstrainedLanguage' @{ Request = '{"version": 1, "verb": "read", "wanted": {}}' }
        $ran.errors | Should -BeNullOrEmpty
        $ran.ansible.Changed | Should -BeFalse
        $ran.ansible.Result.ok | Should -BeFalse
        $ran.ansible.Result.sentence | Should -BeLike '*constrained language mode*'
        $ran.ansible.Result.found.language_mode | Should -Be 'ConstrainedLanguage'
    }

    It 'tells an account that may not ask WMI that it is no administrator, and another one what failed' {
        Mock Read-Unfinished { @{ rows = @(); faults = @() } }
        Mock Read-Wanted { throw 'Access denied' }
        foreach ($script:IsAdministrator in $false, $true) {
            Mock Test-Administrator { $script:IsAdministrator }
            $answer = Invoke-Request '{"version": 1, "verb": "read", "wanted": {}}' $false
            $answer.ok | Should -BeFalse
            $answer.found | Should -BeNullOrEmpty
            $answer.sentence | Should -BeLike '*(Access denied)*'
            $answer.sentence -like '*is no administrator of this host*' | Should -Be (-not $script:IsAdministrator)
        }
    }

    It 'refuses a request of another version' {
        $ran = Invoke-AsModule 'FullLanguage' @{ Request = '{"version": 2, "verb": "read", "wanted": {}}' }
        $ran.ansible.Result.ok | Should -BeFalse
        $ran.ansible.Result.sentence | Should -BeLike '*version 2*'
    }
}

Describe 'files' {
    BeforeAll {
        Mock Assert-LocalPath { $null }
        Mock Get-Sddl { '' }
    }

    BeforeEach {
        $Path = [IO.Path]::Combine($TestDrive, 'a.txt')
        Write-Text $Path 'one'
    }

    It 'knows a file by its sha256, and none by nothing' {
        Get-FileText $Path | Should -BeExactly '7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed'
        Get-FileText "$Path.no" | Should -BeExactly ''
        { Get-FileText $TestDrive } | Should -Throw '*is a folder*'
    }

    It 'reads an empty file' {
        Write-Text $Path ''
        Get-FileText $Path | Should -BeExactly (Get-Sha256 ([byte[]]::new(0)))
        (Read-AskedFile @{ path = $Path; limit = 10 } @{}).content | Should -BeExactly ''
    }

    It 'reads a file that another process has open for writing' {
        $held = [IO.FileStream]::new($Path, [IO.FileMode]::Open, [IO.FileAccess]::ReadWrite, [IO.FileShare] 'ReadWrite, Delete')
        try {
            $found = Read-AskedFile @{ path = $Path; limit = 10 } @{}
        }
        finally {
            $held.Dispose()
        }
        $found.problem | Should -BeNullOrEmpty
        $found.content | Should -BeExactly (Get-Base64 'one')
    }

    It 'answers one that is too big without its content' {
        $found = Read-AskedFile @{ path = $Path; limit = 2 } @{}
        $found.exists | Should -BeTrue
        $found.size | Should -Be 3
        $found.content | Should -BeNullOrEmpty
        $found.problem | Should -BeLike '*3 bytes*2 that are read*'
    }

    It 'answers a place that the registry does not name as a problem' {
        $found = Read-AskedFile @{ path = '{client}\a.txt'; limit = 2 } @{ client = $null }
        $found.exists | Should -BeFalse
        $found.problem | Should -BeLike '*does not name the folder of {client}*'
    }

    It 'finds a link in a path' {
        $real = [IO.Path]::Combine($TestDrive, 'real')
        $null = [IO.Directory]::CreateDirectory($real)
        Write-Text ([IO.Path]::Combine($real, 'b.txt')) 'two'
        $link = [IO.Path]::Combine($TestDrive, 'link')
        $kind = 'SymbolicLink'
        if ([IO.Path]::DirectorySeparatorChar -eq '\') {
            $kind = 'Junction'
        }
        $null = New-Item -ItemType $kind -Path $link -Value $real
        Get-Link ([IO.Path]::Combine($link, 'b.txt')) | Should -BeExactly $link
        Get-Link ([IO.Path]::Combine($link, 'not', 'there')) | Should -BeExactly $link
        Get-Link ([IO.Path]::Combine($real, 'b.txt')) | Should -BeNullOrEmpty
        $found = Read-AskedFile @{ path = [IO.Path]::Combine($link, 'b.txt'); limit = 10 } @{}
        $found.reparse | Should -BeTrue
        $found.content | Should -BeNullOrEmpty
        { Resolve-StepPath @{ Places = @{} } ([IO.Path]::Combine($link, 'b.txt')) } | Should -Throw '*is a link*'
    }

    It 'replaces a file whole, and leaves nothing beside it' {
        Set-FileContent -Path $Path -Bytes (Get-Utf8 'two') -Expected (Get-FileText $Path) -Sddl ''
        Read-Text $Path | Should -BeExactly 'two'
        @([IO.Directory]::GetFiles($TestDrive, 'a.txt*')).Count | Should -Be 1
    }

    It 'replaces one that a reader has open' {
        $held = Open-Shared $Path
        try {
            Set-FileContent -Path $Path -Bytes (Get-Utf8 'two') -Expected (Get-FileText $Path) -Sddl ''
        }
        finally {
            $held.Dispose()
        }
        Read-Text $Path | Should -BeExactly 'two'
    }

    It 'puts back what another process wrote in the last moment' {
        $expected = Get-FileText $Path
        Write-Text $Path 'theirs'
        { Set-FileContent -Path $Path -Bytes (Get-Utf8 'two') -Expected $expected -Sddl '' } | Should -Throw '*by another process at the same moment*'
        Read-Text $Path | Should -BeExactly 'theirs'
        @([IO.Directory]::GetFiles($TestDrive, 'a.txt*')).Count | Should -Be 1
    }

    It 'makes a file only where there is none' {
        { Set-FileContent -Path $Path -Bytes (Get-Utf8 'two') -Expected '' -Sddl '' } | Should -Throw
        Read-Text $Path | Should -BeExactly 'one'
        Set-FileContent -Path "$Path.made" -Bytes (Get-Utf8 'two') -Expected '' -Sddl ''
        Read-Text "$Path.made" | Should -BeExactly 'two'
    }

    It 'replaces a file that is read-only, which is so afterwards' {
        $entry = @{ kind = 'file'; target = $Path; sddl = 'D:'; attributes = 33 }
        Mock Set-Sddl { $null }
        [IO.File]::SetAttributes($Path, [IO.FileAttributes]::ReadOnly)
        Set-Setting -Entry $entry -Now (Get-FileText $Path) -Text (Get-Sha256 (Get-Utf8 'two')) -Bytes (Get-Utf8 'two')
        Read-Text $Path | Should -BeExactly 'two'
        [IO.FileInfo]::new($Path).IsReadOnly | Should -BeTrue
        [IO.File]::SetAttributes($Path, [IO.FileAttributes]::Normal)
    }

    It 'finds again what a cut between two renames left' {
        [IO.File]::Move($Path, "$Path.portshift-old")
        Write-Text "$Path.portshift-new" 'half'
        Repair-CutReplace $Path
        Read-Text $Path | Should -BeExactly 'one'
        @([IO.Directory]::GetFiles($TestDrive, 'a.txt*')).Count | Should -Be 1
    }

    It 'splices bytes' {
        $result = Get-Sha256 (Get-Utf8 'port=55000;old=52311')
        $splices = @(
            @{ at = 15; length = 0; bytes = (Get-Base64 '52311') }
            @{ at = 5; length = 5; bytes = (Get-Base64 '55000') }
        ) | ForEach-Object { New-Object PSObject -Property $_ }
        $step = @{ path = 'x'; splices = $splices; result = $result }
        [Text.Encoding]::UTF8.GetString((Get-NewContent $step (Get-Utf8 'port=52311;old='))) | Should -BeExactly 'port=55000;old=52311'
        $step.result = Get-Sha256 (Get-Utf8 'other')
        { Get-NewContent $step (Get-Utf8 'port=52311;old=') } | Should -Throw '*do not make the file that was planned*'
        { Get-NewContent $step (Get-Utf8 'port=5') } | Should -Throw '*overlaps another or the end*'
    }

    It 'answers the ends of the newest logs' {
        $folder = [IO.Path]::Combine($TestDrive, 'logs')
        $null = [IO.Directory]::CreateDirectory($folder)
        $day = [DateTime]::UtcNow
        foreach ($name in 'a.log', 'b.LOG', 'c.log', 'd.txt') {
            $file = [IO.Path]::Combine($folder, $name)
            Write-Text $file "0123456789 $name"
            $day = $day.AddMinutes(1)
            [IO.File]::SetLastWriteTimeUtc($file, $day)
        }
        $found = Read-Folder @{ path = $folder; endings = @('.log'); newest = 2; bytes = 5 } @{}
        $found.problem | Should -BeNullOrEmpty
        @($found.files | ForEach-Object { $_.name }) | Should -Be @('c.log', 'b.LOG')
        $found.files[0].content | Should -BeExactly (Get-Base64 'c.log')
        $found.files[0].offset | Should -Be 11
        (Read-Folder @{ path = "$folder.no"; endings = @('.log'); newest = 2; bytes = 5 } @{}).exists | Should -BeFalse
    }
}

Describe 'paths' {
    It 'takes <path>' -ForEach @(
        @{ path = 'C:\Program Files (x86)\BigFix Enterprise\BES Client\actionsite.afxm' }
        @{ path = 'd:\a' }
    ) {
        { Assert-LocalPath $path } | Should -Not -Throw
    }

    It 'refuses <path>' -ForEach @(
        @{ path = 'a.txt' }
        @{ path = '\\server\share\a' }
        @{ path = '\\?\C:\a' }
        @{ path = 'C:a' }
        @{ path = 'C:\a\..\b' }
        @{ path = 'C:\a\..' }
        @{ path = 'C:\a/../b' }
        @{ path = 'C:\a:stream' }
        @{ path = '/etc/passwd' }
    ) {
        { Assert-LocalPath $path } | Should -Throw '*is no path on a drive*'
    }

    It 'puts a place in' {
        Get-KnownPath '{client}\a.txt' @{ client = 'D:\BES Client\' } | Should -BeExactly 'D:\BES Client\a.txt'
    }
}

Describe 'the registry' {
    BeforeAll {
        Mock Open-Key { Open-FakeKey $script:World $Key }
    }

    BeforeEach {
        $script:World = New-World $TestDrive
        $script:World.registry['HKLM\SOFTWARE'] = @{}
        $script:World.registry['HKLM\SOFTWARE\X'] = @{ Port = @('String', '52311') }
    }

    It 'sets a value of type <kind> to what it reads' -ForEach @(
        @{ kind = 'String'; data = '2014-10-23T16:36:44Z'; text = 'String:2014-10-23T16:36:44Z' }
        @{ kind = 'String'; data = ''; text = 'String:' }
        @{ kind = 'ExpandString'; data = '%SystemRoot%:x'; text = 'ExpandString:%SystemRoot%:x' }
        @{ kind = 'MultiString'; data = [string[]] @('a', 'b'); text = 'MultiString:.YQA=,.YgA=' }
        @{ kind = 'MultiString'; data = [string[]] @('a'); text = 'MultiString:.YQA=' }
        @{ kind = 'MultiString'; data = [string[]] @(); text = 'MultiString:' }
        @{ kind = 'DWord'; data = -1; text = 'DWord:4294967295' }
        @{ kind = 'QWord'; data = [long] 5; text = 'QWord:5' }
        @{ kind = 'Binary'; data = [byte[]] @(1, 255); text = 'Binary:Af8=' }
    ) {
        $script:World.registry['HKLM\SOFTWARE\X']['v'] = @($kind, $data)
        Get-RegistryText 'HKLM\SOFTWARE\X' 'v' | Should -BeExactly $text
        Set-RegistryText -Key 'HKLM\SOFTWARE\X' -Name 'w' -Text $text
        Get-RegistryText 'HKLM\SOFTWARE\X' 'w' | Should -BeExactly $text
    }

    It 'takes a value of the request for the one that is there' {
        $value = ConvertFrom-Json -InputObject '{"name": "v", "type": "MultiString", "data": ["a", "b"]}'
        Get-ValueTextOf $value | Should -BeExactly 'MultiString:.YQA=,.YgA='
        Get-ValueTextOf (ConvertFrom-Json -InputObject '{"name": "v", "type": "DWord", "data": 4294967295}') | Should -BeExactly 'DWord:4294967295'
        Get-ValueTextOf $null | Should -BeExactly ''
        { Get-ValueTextOf (ConvertFrom-Json -InputObject '{"name": "v", "type": "Unknown", "data": ""}') } | Should -Throw '*is not written here*'
    }

    It 'refuses a text that PowerShell 7 makes a date of, rather than write another' {
        $value = ConvertFrom-Json -InputObject '{"name": "v", "type": "String", "data": "2014-10-23T16:36:44Z"}'
        if ($value.data -is [DateTime]) {
            { Get-ValueTextOf $value } | Should -Throw '*looks like a date*'
        }
        else {
            Get-ValueTextOf $value | Should -BeExactly 'String:2014-10-23T16:36:44Z'
        }
    }

    It 'makes a missing key, and takes away with the value what it made' {
        Get-MissingKey 'HKLM\SOFTWARE\X\Y\Z' | Should -BeExactly 'HKLM\SOFTWARE\X\Y'
        Set-RegistryText -Key 'HKLM\SOFTWARE\X\Y\Z' -Name 'v' -Text 'String:a'
        Get-RegistryText 'HKLM\SOFTWARE\X\Y\Z' 'v' | Should -BeExactly 'String:a'
        Set-RegistryText -Key 'HKLM\SOFTWARE\X\Y\Z' -Name 'v' -Text ''
        Remove-EmptyKey 'HKLM\SOFTWARE\X\Y\Z' 'HKLM\SOFTWARE\X\Y'
        @($script:World.registry.Keys | Sort-Object) | Should -Be @('HKLM\SOFTWARE', 'HKLM\SOFTWARE\X')
    }

    It 'takes a key away with its last value, and keeps one that holds more' {
        $script:World.registry['HKLM\SOFTWARE\X\Setting'] = @{ value = @('String', '1') }
        Mock Add-Journal { $null }
        $gone = @{ key = 'HKLM\SOFTWARE\X\Setting'; name = 'value'; expected = @{ name = 'value'; type = 'String'; data = '1' }; wanted = $null }
        Invoke-RegistryStep @{} $gone | Should -BeTrue
        $script:World.registry.ContainsKey('HKLM\SOFTWARE\X\Setting') | Should -BeFalse
        $script:World.registry.ContainsKey('HKLM\SOFTWARE\X') | Should -BeTrue
    }

    It 'reads a key and those under it, in the order of their names' {
        $script:World.registry['HKLM\SOFTWARE\X\b'] = @{ v = @('DWord', 7) }
        $script:World.registry['HKLM\SOFTWARE\X\A'] = @{}
        $script:World.registry['HKLM\SOFTWARE\X\A\deep'] = @{ v = @('String', 'd') }
        $found = Read-Registry @{ key = 'HKLM\SOFTWARE\X'; depth = 1; limit = 10 }
        $found.problem | Should -BeNullOrEmpty
        @($found.keys | ForEach-Object { $_.key }) | Should -Be @('HKLM\SOFTWARE\X', 'HKLM\SOFTWARE\X\A', 'HKLM\SOFTWARE\X\b')
        $found.keys[2].values[0].data | Should -Be 7
        @((Read-Registry @{ key = 'HKLM\SOFTWARE\X'; depth = 0; limit = 10 }).keys).Count | Should -Be 1
        @((Read-Registry @{ key = 'HKLM\SOFTWARE\X'; depth = 2; limit = 10 }).keys).Count | Should -Be 4
        (Read-Registry @{ key = 'HKLM\SOFTWARE\X'; depth = 2; limit = 2 }).problem | Should -BeLike '*more values than the 2*'
        (Read-Registry @{ key = 'HKLM\SOFTWARE\No'; depth = 2; limit = 2 }).exists | Should -BeFalse
    }

    It 'reads the other values of a key where one cannot be read' {
        $script:World.registry['HKLM\SOFTWARE\X']['odd'] = @('Binary', 'no bytes')
        $found = Read-Registry @{ key = 'HKLM\SOFTWARE\X'; depth = 0; limit = 10 }
        $found.problem | Should -BeNullOrEmpty
        @($found.keys[0].values | ForEach-Object { "$($_.name) $($_.type) $($_.data)" } | Sort-Object) | Should -Be @('odd Unknown ', 'Port String 52311')
    }

    It 'takes the first folder that the registry names' {
        $script:World.registry['HKLM\SOFTWARE\X']['Folder'] = @('String', 'D:\BES Client\')
        $values = @(
            @{ key = 'HKLM\SOFTWARE\No'; value = 'Folder' }
            @{ key = 'HKLM\SOFTWARE\X'; value = 'Folder' }
        )
        $places = Read-Place @(@{ name = 'client'; values = $values }, @{ name = 'no'; values = @(); otherwise = 'C:\x' })
        $places.client | Should -BeExactly 'D:\BES Client'
        $places.no | Should -BeExactly 'C:\x'
    }
}

Describe 'services' {
    BeforeAll {
        Mock Get-ServiceRow { Get-FakeRow $script:World $Filter }
        Mock Get-ServiceController { New-FakeController $script:World $Name }
        Mock Get-ProcessFact { @{ name = 'p'; began = [double] $Id } }
        Mock Start-Sleep { $script:World.clock += 0.5 }
        Mock Get-Uptime { $script:World.clock }
        Mock Get-RegistryText { '' }
    }

    BeforeEach {
        $script:World = New-World $TestDrive
        Add-FakeService -World $script:World -Name 'BESClient' -State 'Running'
    }

    It 'says what a service is' {
        $found = Read-Service 'BESClient'
        $found.state | Should -Be 'running'
        $found.start_mode | Should -Be 'auto'
        $found.process | Should -Be 4001
        @($found.needs).Count | Should -Be 0
        (Read-Service 'No').exists | Should -BeFalse
    }

    It 'stops one that runs, and leaves one that does not' {
        # Its process is gone at once here, so that it is not found by its number any more.
        Mock Get-ProcessFact { @{ name = $null; began = $null } }
        Stop-ServiceInTime 'BESClient' 10 | Should -BeTrue
        Stop-ServiceInTime 'BESClient' 10 | Should -BeFalse
        $script:World.asked | Should -Be @('stop BESClient')
    }

    It 'ends waiting for one that hangs' {
        $script:World.services['BESClient'].OnStop = 'Stop Pending'
        { Stop-ServiceInTime 'BESClient' 10 } | Should -Throw '*BESClient is in state stop_pending after 10 s*'
        $script:World.clock | Should -BeLessThan 12
    }

    It 'ends waiting for a process that stays' {
        Mock Get-ServiceRow { Get-FakeRow $script:World $Filter } -ParameterFilter { $Filter -like 'Name*' }
        Mock Get-ServiceRow { $null } -ParameterFilter { $Filter -like 'ProcessId*' }
        { Stop-ServiceInTime 'BESClient' 10 } | Should -Throw '*its process 4001 still runs*'
    }

    It 'does not stop one that others need which run' {
        Add-FakeService -World $script:World -Name 'Other' -State 'Running'
        $script:World.services['BESClient'].NeededBy = @('Other')
        { Stop-ServiceInTime 'BESClient' 10 } | Should -Throw '*is needed by Other*'
        $script:World.asked.Count | Should -Be 0
        $script:World.services['Other'].State = 'Stopped'
        Mock Get-ProcessFact { @{ name = $null; began = $null } }
        Stop-ServiceInTime 'BESClient' 10 | Should -BeTrue
    }

    It 'starts one, once' {
        $row = $script:World.services['BESClient']
        $row.State = 'Stopped'
        Start-ServiceInTime 'BESClient' 10 | Should -BeTrue
        Start-ServiceInTime 'BESClient' 10 | Should -BeFalse
        $row.State = 'Stopped'
        $row.OnStart = 'Refused'
        { Start-ServiceInTime 'BESClient' 10 } | Should -Throw '*cannot be started*logon failure*'
        $row.OnStart = 'Stopped'
        { Start-ServiceInTime 'BESClient' 10 } | Should -Throw '*ended as soon as it was started*'
        $row.OnStart = 'Start Pending'
        { Start-ServiceInTime 'BESClient' 10 } | Should -Throw '*in state start_pending after 10 s*'
        @($script:World.asked).Count | Should -Be 4
    }

    It 'names one that is not there' {
        { Stop-ServiceInTime 'No' 10 } | Should -Throw '*has no service No*'
    }
}

Describe 'netsh' {
    BeforeEach {
        $script:World = New-World $TestDrive
        Mock Invoke-Netsh {
            $script:World.asked.Add($Arguments)
            @{ code = 0; text = "$($script:World.netsh[$Arguments])" }
        }
    }

    It 'reads ranges by their numbers, in <language>' -ForEach @(
        @{ language = 'English'
            head = "Protocol tcp Port Exclusion Ranges`n`nStart Port    End Port`n----------    --------"
            foot = '* - Administered port exclusions.'
            dynamic = "`nProtocol tcp Dynamic Port Range`n---------------------------------`nStart Port      : 49152`nNumber of Ports : 16384`n" }
        @{ language = 'German'
            head = "Portausschlussbereiche f. Protokoll tcp`n`nStartport    Endport`n----------    --------"
            foot = '* - Verwaltete Portausschluesse.'
            dynamic = "`nProtokoll tcp Dynamischer Portbereich`n-----------`nStartport          : 49152`r`nAnzahl von Ports   : 16384`r`n" }
    ) {
        foreach ($family in 'ipv4', 'ipv6') {
            foreach ($protocol in 'tcp', 'udp') {
                $rows = "      5357        5357`n     50000       50059     *`r`n"
                $script:World.netsh["interface $family show excludedportrange protocol=$protocol"] = "$head`n$rows`n$foot`n"
                $script:World.netsh["interface $family show dynamicport $protocol"] = $dynamic
            }
        }
        $found = Read-PortRange 'excluded' ''
        $found.Count | Should -Be 8
        "$($found[0].family) $($found[0].protocol) $($found[0].first) $($found[0].last)" | Should -Be 'ipv4 tcp 5357 5357'
        "$($found[7].family) $($found[7].protocol) $($found[7].first) $($found[7].last)" | Should -Be 'ipv6 udp 50000 50059'
        $found[0].administered | Should -BeFalse
        $found[7].administered | Should -BeTrue
        $found = Read-PortRange 'dynamic' ''
        $found.Count | Should -Be 4
        "$($found[3].family) $($found[3].protocol) $($found[3].first) $($found[3].last)" | Should -Be 'ipv6 udp 49152 65535'
        Get-ExcludedText 'ipv4/tcp/50001' | Should -Be '50000-50059'
        Get-ExcludedText 'ipv4/tcp/55000' | Should -Be ''
    }

    It 'says so where there are no numbers' {
        { Read-PortRange 'dynamic' '' } | Should -Throw '*does not tell the dynamic ports*'
    }

    It 'leaves out a family that is switched off' {
        $script:World.netsh['interface ipv4 show dynamicport tcp'] = "Start Port : 49152`nNumber of Ports : 16384`n"
        $found = Read-PortRange 'dynamic' ''
        $found.Count | Should -Be 1
        $found[0].family | Should -Be 'ipv4'
    }

    It 'neither takes nor gives back a port that Windows keeps from every program, and says so' {
        Mock Add-Journal { $null }
        foreach ($kind in 'ipv4', 'ipv6') {
            $script:World.netsh["interface $kind show excludedportrange protocol=tcp"] = "     54950       55049`r`n"
            $script:World.netsh["interface $kind show excludedportrange protocol=udp"] = "     55000       55000`r`n"
        }
        foreach ($present in $true, $false) {
            $notes = [Collections.Generic.List[object]]::new()
            $step = @{ step = 'exclude'; kinds = @('ipv4/tcp', 'ipv4/udp', 'ipv6/tcp', 'ipv6/udp'); port = 55000; present = $present; must = $false }
            Invoke-ExcludeStep -Change @{} -Step $step -Notes $notes | Should -BeFalse
            $notes.Count | Should -Be 4
        }
        { Invoke-ExcludeStep -Change @{} -Step @{ kinds = @('ipv4/tcp'); port = 55000; present = $true; must = $true } -Notes @() } |
            Should -Throw '*ipv4/tcp/55000 cannot be excluded, since it lies in the range 54950-55049*'
        @($script:World.asked | Where-Object { $_ -like '*add*' -or $_ -like '*delete*' }).Count | Should -Be 0
    }

    It 'takes and gives back the kinds that are asked for, and no others' {
        $notes = [Collections.Generic.List[object]]::new()
        Mock Set-Journaled { $script:World.asked.Add("$($Entry.target) '$($Entry.before)' '$($Entry.after)'") }
        Invoke-ExcludeStep -Change @{} -Step @{ kinds = @('ipv6/udp'); port = 55000; present = $true; must = $false } -Notes $notes | Should -BeTrue
        $script:World.netsh['interface ipv4 show excludedportrange protocol=tcp'] = "     55000       55000     *`r`n"
        $script:World.netsh['interface ipv6 show excludedportrange protocol=udp'] = "     55000       55000     *`r`n"
        Invoke-ExcludeStep -Change @{} -Step @{ kinds = @('ipv6/udp'); port = 55000; present = $false; must = $false } -Notes $notes | Should -BeTrue
        @($script:World.asked | Where-Object { $_ -notlike 'interface*' }) |
            Should -Be @("ipv6/udp/55000 '' '55000-55000'", "ipv6/udp/55000 '55000-55000' ''")
        $notes.Count | Should -Be 0
    }

    It 'asks netsh once for one port' {
        $null = Get-ExcludedText 'ipv6/udp/55000'
        $script:World.asked | Should -Be @('interface ipv6 show excludedportrange protocol=udp')
    }

    It 'waits until IP Helper listens, or does no more, where it runs' {
        $script:World.rows = @(@{ protocol = 'tcp'; process = 7; name = 'svchost' })
        Mock Get-KnownService { @{ state = 'running'; process = 7 } }
        Mock Read-Endpoint { @{ listeners = $script:World.rows } }
        Mock Start-Sleep { $script:World.clock += 0.5 }
        Mock Get-Uptime { $script:World.clock }
        Wait-PortProxy 52311 $true
        $script:World.clock | Should -Be 0
        { Wait-PortProxy 52311 $false } | Should -Throw '*after 10 s the port is held by process 7 (svchost)*'
        $script:World.rows = @()
        Wait-PortProxy 52311 $false
        { Wait-PortProxy 52311 $true } | Should -Throw '*was told to listen on port 52311: True*held by no process:*'
        $script:World.netsh['interface ipv4 show excludedportrange protocol=tcp'] = "     52300       52400`r`n"
        { Wait-PortProxy 52311 $true } | Should -Throw '*held by no process; it lies in the range 52300-52400, which Windows itself*'
        Mock Get-KnownService { @{ state = 'stopped'; process = $null } }
        Wait-PortProxy 52311 $true
    }

    It 'excludes and forwards ports' {
        Mock Wait-PortProxy { $null }
        Mock Get-PortProxyText { '' }
        Set-ExcludedText 'ipv6/udp/55000' '55000-55000'
        Set-ExcludedText 'ipv6/udp/55000' ''
        Set-PortProxyText 52311 '0.0.0.0 127.0.0.1 55000'
        Mock Get-PortProxyText { '* 127.0.0.1 55000' }
        Set-PortProxyText 52311 ''
        $script:World.asked | Should -Be @(
            'interface ipv6 add excludedportrange protocol=udp startport=55000 numberofports=1 store=persistent'
            'interface ipv6 delete excludedportrange protocol=udp startport=55000 numberofports=1 store=persistent'
            'interface portproxy add v4tov4 listenport=52311 listenaddress=0.0.0.0 connectport=55000 connectaddress=127.0.0.1'
            'interface portproxy delete v4tov4 listenport=52311 listenaddress=*'
        )
    }

    It 'says what netsh said when it failed' {
        Mock Invoke-Netsh { @{ code = 1; text = "Der Prozess kann nicht`n zugreifen." } }
        { Set-ExcludedText 'ipv4/tcp/55000' '55000-55000' } | Should -Throw '*exit code 1*Der Prozess kann nicht zugreifen.*'
    }

    It 'reads the forwarding of ports from the registry' {
        $script:World.registry['HKLM\SYSTEM\CurrentControlSet\Services\PortProxy\v4tov4\tcp'] = @{ '0.0.0.0/52311' = @('String', '127.0.0.1/55000') }
        $script:World.registry['HKLM\SYSTEM\CurrentControlSet\Services\PortProxy\v6tov4\tcp'] = @{ '::1/80' = @('String', '10.0.0.1/8080') }
        Mock Open-Key { Open-FakeKey $script:World $Key }
        $found = Read-PortProxy
        $found.Count | Should -Be 2
        $found[1].listen_address | Should -Be '::1'
        $found[1].connect_port | Should -Be 8080
        Get-PortProxyText 52311 | Should -Be '0.0.0.0 127.0.0.1 55000'
        Get-PortProxyText 80 | Should -Be ''
    }
}

Describe 'connections' {
    BeforeAll {
        Mock Get-TcpTable {
            foreach ($state in 2, 3, 5, 8, 11, 100) {
                New-Object PSObject -Property @{ State = $state; LocalPort = 52311; LocalAddress = '10.0.0.1'; RemotePort = 60000 + $state
                    RemoteAddress = '10.0.0.2'; OwningProcess = 7 }
            }
        }
        Mock Get-UdpTable { New-Object PSObject -Property @{ LocalPort = 52311; LocalAddress = '::'; OwningProcess = 7 } }
        Mock Get-ProcessFact { @{ name = 'p'; began = 1 } }
    }

    It 'are those that are, or are about to be' {
        $ends = Read-Endpoint @(52311) @()
        @($ends.listeners | ForEach-Object { $_.protocol }) | Should -Be @('tcp', 'udp')
        @($ends.connections | ForEach-Object { $_.state }) | Should -Be @('SynSent', 'Established')
        @((Read-Endpoint @() @(60005)).connections).Count | Should -Be 1
    }

    It 'are not looked at where listeners are asked for, and a process is looked at once' {
        $ends = Read-Endpoint @(52311) $null
        @($ends.listeners).Count | Should -Be 1
        @($ends.connections).Count | Should -Be 0
        Should -Invoke Get-UdpTable -Times 0 -Exactly
        $null = Read-Endpoint @(52311) @()
        Should -Invoke Get-ProcessFact -Times 3 -Exactly
    }

    It 'are waited for, or waited for to be gone' {
        Mock Get-KnownService { @{ process = 7; began = 1; state = 'running' } }
        Mock Resolve-Name { [Net.IPAddress]::Parse('10.0.0.2') }
        $change = Open-Change ('0' * 32) $null
        foreach ($case in @(@(60005, $true, $false), @(60003, $false, $false), @(60008, $false, $true))) {
            $condition = @{ kind = 'connection'; service = 'BESClient'; host = 'relay'; port = $case[0] }
            (Test-Condition $change $condition).holds | Should -Be $case[1]
            $condition.absent = $true
            (Test-Condition $change $condition).holds | Should -Be $case[2]
        }
        $both = @(60005, 60008 | ForEach-Object { @{ kind = 'connection'; service = 'BESClient'; host = 'relay'; port = $_ } })
        (Test-Condition $change @{ kind = 'all'; of = $both }).holds | Should -BeFalse
        $both[1].absent = $true
        $seen = Test-Condition $change @{ kind = 'all'; of = $both }
        $seen.holds | Should -BeTrue
        $seen.process | Should -Be '7 1,7 1,'
        (Test-Condition $change @{ kind = 'either'; of = @(@{ kind = 'all'; of = $both }) }).holds | Should -BeTrue
    }

    It 'end at a number of rows' {
        $ConnectionLimit = 1
        @((Read-Endpoint @(52311) @()).connections).Count | Should -Be 1
    }
}

Describe 'a file of our own' {
    BeforeEach {
        $Folder = [IO.Path]::Combine($TestDrive, [Guid]::NewGuid().ToString())
        $null = [IO.Directory]::CreateDirectory($Folder)
        $Path = [IO.Path]::Combine($Folder, 'a.json')
        Write-Text $Path '{}'
        Mock Assert-LocalPath { $null }
        Mock Test-OwnPath { $true }
        Mock Get-FolderFault { '' }
        Mock Get-SecurityFact { @{ safe = $true } }
    }

    It 'is trusted where no user can have written it' {
        (Read-AskedFile @{ path = $Path; limit = 10 } @{}).trusted | Should -BeTrue
        (Read-AskedFile @{ path = "$Path.no"; limit = 10 } @{}).trusted | Should -BeFalse
    }

    It 'is not where its folder, or itself, may be another''s, or it lies elsewhere' {
        Mock Get-SecurityFact { @{ safe = $false } }
        Test-TrustedFile $Path | Should -BeFalse
        Mock Get-SecurityFact { throw 'Access is denied.' }
        Test-TrustedFile $Path | Should -BeFalse
        Mock Get-SecurityFact { @{ safe = $true } }
        Mock Get-FolderFault { 'a fault' }
        Test-TrustedFile $Path | Should -BeFalse
        Mock Get-FolderFault { '' }
        Mock Test-OwnPath { $false }
        Test-TrustedFile $Path | Should -BeFalse
    }
}

Describe 'probes' {
    BeforeAll {
        function New-TestCertificate {
            $key = [Security.Cryptography.RSA]::Create(2048)
            $request = [Security.Cryptography.X509Certificates.CertificateRequest]::new(
                'CN=hub', $key, [Security.Cryptography.HashAlgorithmName]::SHA256, [Security.Cryptography.RSASignaturePadding]::Pkcs1)
            $made = $request.CreateSelfSigned([DateTimeOffset]::UtcNow.AddDays(-1), [DateTimeOffset]::UtcNow.AddDays(1))
            # Windows serves none whose key was never kept.
            $bytes = $made.Export([Security.Cryptography.X509Certificates.X509ContentType]::Pfx, 'x')
            [Security.Cryptography.X509Certificates.X509Certificate2]::new($bytes, 'x')
        }

        function Start-Answer([string] $Text, [object] $Certificate) {
            # One connection is taken, in a thread of its own; without a text it is not answered.
            $listener = [Net.Sockets.TcpListener]::new([Net.IPAddress]::Loopback, 0)
            $listener.Start()
            $shell = [Management.Automation.PowerShell]::Create()
            $null = $shell.AddScript({
                    param($Listener, $Text, $Certificate)
                    $client = $Listener.AcceptTcpClient()
                    if ($Text) {
                        $stream = $client.GetStream()
                        if ($Certificate) {
                            $stream = [Net.Security.SslStream]::new($stream)
                            $stream.AuthenticateAsServer($Certificate)
                        }
                        $buffer = [byte[]]::new(4096)
                        $null = $stream.Read($buffer, 0, 4096)
                        $bytes = [Text.Encoding]::ASCII.GetBytes($Text)
                        $stream.Write($bytes, 0, $bytes.Length)
                        $client.Close()
                    }
                    else {
                        [Threading.Thread]::Sleep(20000)
                    }
                }).AddArgument($listener).AddArgument($Text).AddArgument($Certificate)
            $null = $shell.BeginInvoke()
            @{ listener = $listener; port = $listener.LocalEndpoint.Port }
        }
    }

    It 'reads an answer, no further than it is asked to' {
        $server = Start-Answer "HTTP/1.1 503 No`r`nContent-Length: 7`r`n`r`nabcdefg"
        $found = Read-Probe @{ name = 'n'; host = '127.0.0.1'; port = $server.port; kind = 'http'; path = '/x'; timeout = 10; limit = 4 }
        $server.listener.Stop()
        $found.problem | Should -BeNullOrEmpty
        $found.ok | Should -BeTrue
        $found.status | Should -Be 503
        $found.body | Should -BeExactly (Get-Base64 'abcd')
        $found.address | Should -Be '127.0.0.1'
    }

    It 'tells the certificate that it was shown, whatever has signed it' {
        $certificate = New-TestCertificate
        $server = Start-Answer "HTTP/1.1 401 No`r`n`r`n" $certificate
        $found = Read-Probe @{ name = 'n'; host = '127.0.0.1'; port = $server.port; kind = 'https'; timeout = 10 }
        $server.listener.Stop()
        $found.problem | Should -BeNullOrEmpty
        $found.status | Should -Be 401
        $raw = $certificate.GetRawCertData()
        $found.certificate | Should -BeExactly ([Convert]::ToBase64String($raw))
        $sha1 = $certificate.Thumbprint
        $sha256 = Get-Sha256 $raw
        Test-Thumbprint $found.certificate $sha1 | Should -BeTrue
        Test-Thumbprint $found.certificate $sha256 | Should -BeTrue
        $upper = $sha256.ToUpperInvariant()
        Test-Thumbprint $found.certificate $upper | Should -BeTrue
        Test-Thumbprint $found.certificate ('A' * 40) | Should -BeFalse
        Test-Thumbprint $null $sha1 | Should -BeFalse
    }

    It 'takes an answer of any status for one, and another certificate for none' {
        $probe = @{ name = 'n'; host = 'hub'; port = 8443; kind = 'https'; timeout = 5 }
        Mock Read-Probe { @{ ok = $true; status = 401; problem = $null; body = ''; certificate = (Get-Base64 'shown') } }
        (Test-Condition @{} @{ kind = 'probe'; probe = $probe; contains = $null }).holds | Should -BeFalse
        (Test-Condition @{} @{ kind = 'probe'; probe = $probe; contains = $null; any_status = $true }).holds | Should -BeTrue
        $print = Get-Sha256 ([Text.Encoding]::ASCII.GetBytes('shown'))
        (Test-Condition @{} @{ kind = 'probe'; probe = $probe; any_status = $true; thumbprint = $print }).holds | Should -BeTrue
        $seen = Test-Condition @{} @{ kind = 'probe'; probe = $probe; any_status = $true; thumbprint = ('A' * 40) }
        $seen.holds | Should -BeFalse
        $seen.note | Should -BeLike '*with another certificate than AAAA*'
    }

    It 'looks up the names in files of which that is asked, and no others' {
        $utf16 = [Convert]::ToBase64String([Text.Encoding]::Unicode.GetBytes('<Url>HTTPS://hub.example.test:8443/api</Url>'))
        $files = @(
            @{ content = $utf16 }
            @{ content = (Get-Base64 'http://other/') }
            @{ content = (Get-Base64 'http://[::1]:80/ https://a/ https://b https://c/ https://d/') }
            @{ content = $null })
        $asked = @(@{ hosts = $true }, @{ path = 'x' }, @{ hosts = $true }, @{ hosts = $true })
        (@(Get-UrlHost $asked $files) -join ' ') | Should -BeExactly 'hub.example.test ::1 a b c'
    }

    It 'tells what is no HTTP' {
        $server = Start-Answer '220 mail'
        $found = Read-Probe @{ name = 'n'; host = '127.0.0.1'; port = $server.port; kind = 'http'; timeout = 10 }
        $server.listener.Stop()
        $found.ok | Should -BeFalse
        $found.problem | Should -Be 'what answers does not speak HTTP'
    }

    It 'connects' {
        $server = Start-Answer ''
        (Read-Probe @{ name = 'n'; host = 'localhost'; port = $server.port; kind = 'tcp'; timeout = 10 }).ok | Should -BeTrue
        $server.listener.Stop()
    }

    It 'ends waiting for an answer, of <kind>' -ForEach @(@{ kind = 'http' }, @{ kind = 'https' }) {
        $server = Start-Answer ''
        $found = Read-Probe @{ name = 'n'; host = '127.0.0.1'; port = $server.port; kind = $kind; timeout = 1 }
        $server.listener.Stop()
        $found.ok | Should -BeFalse
        $found.problem | Should -Be 'timed out'
    }

    It 'tells that nothing listens' {
        $listener = [Net.Sockets.TcpListener]::new([Net.IPAddress]::Loopback, 0)
        $listener.Start()
        $port = $listener.LocalEndpoint.Port
        $listener.Stop()
        (Read-Probe @{ name = 'n'; host = '127.0.0.1'; port = $port; kind = 'tcp'; timeout = 10 }).problem | Should -Be 'refused'
    }

    It 'tells that there is no such name' {
        (Read-Probe @{ name = 'n'; host = 'no.such.host.invalid'; port = 1; kind = 'tcp'; timeout = 5 }).problem | Should -BeLike '*no address*'
    }
}

Describe 'the lines of a log' {
    BeforeAll {
        Mock Assert-LocalPath { $null }
    }

    BeforeEach {
        $Logs = [IO.Path]::Combine($TestDrive, [Guid]::NewGuid().ToString())
        $null = [IO.Directory]::CreateDirectory($Logs)
        $Log = [IO.Path]::Combine($Logs, '20261130.log')
        Write-Text $Log "Report posted successfully`n"
        $Change = Open-Change ('0' * 32) $null
        Add-Mark -Change $Change -Path $Logs -Endings @('.log', '.bkg')
        $Condition = @{ kind = 'log'; folder = $Logs; endings = @('.log', '.bkg'); patterns = @('Report posted'); unless = @('FAILED to') }
    }

    It 'does not count what stood there' {
        (Test-Condition $Change $Condition).holds | Should -BeFalse
    }

    It 'counts a line that was added, and takes it back for a later one' {
        [IO.File]::AppendAllText($Log, "Report posted successfully`r`n")
        $seen = Test-Condition $Change $Condition
        $seen.holds | Should -BeTrue
        $seen.note | Should -BeExactly '20261130.log: Report posted successfully'
        [IO.File]::AppendAllText($Log, "FAILED to synchronize`r`n")
        (Test-Condition $Change $Condition).holds | Should -BeFalse
        [IO.File]::AppendAllText($Log, 'Report posted successfully')
        (Test-Condition $Change $Condition).holds | Should -BeTrue
    }

    It 'matches case' {
        [IO.File]::AppendAllText($Log, "report posted`n")
        (Test-Condition $Change $Condition).holds | Should -BeFalse
    }

    It 'reads a shorter file, and a new one, from the beginning' {
        Write-Text $Log "Report posted`n"
        (Test-Condition $Change $Condition).holds | Should -BeTrue
        Write-Text $Log "x`n"
        Write-Text ([IO.Path]::Combine($Logs, '20261201.log')) "Report posted`n"
        (Test-Condition $Change $Condition).holds | Should -BeTrue
    }

    It 'goes by the length of a log that another process has for itself, and tells what was added to it' {
        $held = [IO.FileStream]::new($Log, [IO.FileMode]::Open, [IO.FileAccess]::ReadWrite, [IO.FileShare]::None)
        try {
            Add-Mark -Change $Change -Path $Logs -Endings @('.log')
            $Change.Marks[$Logs][0].size | Should -Be 27
            $Condition.silence = $true
            (Test-Condition $Change $Condition).holds | Should -BeTrue
            $more = Get-Utf8 "FAILED to`n"
            $null = $held.Seek(0, [IO.SeekOrigin]::End)
            $held.Write($more, 0, $more.Length)
            $held.Flush($true)
            $seen = Test-Proof $Change @($Condition)
            $seen.holds | Should -BeFalse
            $seen.notes[0] | Should -BeLike '*20261130.log cannot be read, and 10 bytes were added to it*'
        }
        finally {
            $held.Dispose()
        }
        (Test-Condition $Change $Condition).note | Should -BeLike '*takes it back*'
    }

    It 'takes a log that was renamed since it was listed for no silence' {
        $Condition.silence = $true
        Mock Open-Shared { throw [IO.FileNotFoundException]::new('Could not find file.') }
        (Test-Proof $Change @($Condition)).holds | Should -BeFalse
    }

    It 'reads the other logs of a folder where one cannot be opened' {
        Write-Text ([IO.Path]::Combine($Logs, '20261129.log')) "old`n"
        $held = [IO.FileStream]::new($Log, [IO.FileMode]::Open, [IO.FileAccess]::ReadWrite, [IO.FileShare]::None)
        try {
            $found = Read-Folder @{ path = $Logs; endings = @('.log'); newest = 2; bytes = 100 } @{}
        }
        finally {
            $held.Dispose()
        }
        $found.problem | Should -BeNullOrEmpty
        $rows = @{}
        $found.files | ForEach-Object { $rows[$_.name] = $_ }
        $rows['20261129.log'].content | Should -BeExactly (Get-Base64 "old`n")
        $rows['20261129.log'].problem | Should -BeNullOrEmpty
        $rows['20261130.log'].problem | Should -Not -BeNullOrEmpty
        $rows['20261130.log'].content | Should -BeExactly ''
        $rows['20261130.log'].offset | Should -Be 27
    }

    It 'knows a log under the name that it was given' -Skip:(-not $OnWindows) {
        [IO.File]::Move($Log, "$Log.bkg")
        (Test-Condition $Change $Condition).holds | Should -BeFalse
        [IO.File]::AppendAllText("$Log.bkg", "Report posted`n")
        (Test-Condition $Change $Condition).holds | Should -BeTrue
    }

    It 'takes the one with the new name for the old log, where a new one has the same moment' -Skip:(-not $OnWindows) {
        $made = [IO.File]::GetCreationTimeUtc($Log)
        [IO.File]::Move($Log, "$Log.bkg")
        Write-Text $Log "Report posted`nand more than what stood in the other one`n"
        [IO.File]::SetCreationTimeUtc($Log, $made)
        (Test-Condition $Change $Condition).holds | Should -BeTrue
    }

    It 'takes a line that reads as both for a failure' {
        [IO.File]::AppendAllText($Log, "Report posted, and FAILED to go on`n")
        (Test-Condition $Change $Condition).note | Should -BeLike '*takes it back*'
    }

    It 'takes silence for an answer where that is asked' {
        $Condition.silence = $true
        (Test-Condition $Change $Condition).holds | Should -BeTrue
        [IO.File]::AppendAllText($Log, "FAILED to synchronize`n")
        (Test-Condition $Change $Condition).holds | Should -BeFalse
        [IO.File]::AppendAllText($Log, "Report posted`n")
        (Test-Condition $Change $Condition).holds | Should -BeTrue
    }

    It 'reads the end of what was added, from a whole line on, and says so' {
        $LogLimit = 60
        [IO.File]::AppendAllText($Log, 'Report posted ' + ('x' * 80) + "Report posted`nother`n")
        $seen = Test-Condition $Change $Condition
        $seen.holds | Should -BeFalse
        $seen.note | Should -BeLike '*20261130.log, the last 60 bytes alone were read, and 54 before them not'
        [IO.File]::AppendAllText($Log, "Report posted`n")
        (Test-Condition $Change $Condition).holds | Should -BeTrue
    }

    It 'ends an expression that takes too long' {
        [IO.File]::AppendAllText($Log, ('a' * 3000) + "!`n")
        $Condition.patterns = @('^(a+)+$')
        $seen = Test-Proof $Change @($Condition)
        $seen.holds | Should -BeFalse
    }
}

Describe 'a change' {
    BeforeAll {
        Mock Assert-LocalPath { $null }
        Mock Protect-Folder { $null }
        Mock Get-FolderFault { '' }
        Mock New-ProtectedFolder { $null = [IO.Directory]::CreateDirectory($Path) }
        Mock Set-Sddl { $null }
        Mock Test-Administrator { $true }
        Mock Get-Sddl { '' }
        Mock Read-Wanted { @{ read = $true } }
        Mock Open-Key { Open-FakeKey $script:World $Key }
        Mock Get-ServiceRow { Get-FakeRow $script:World $Filter }
        Mock Get-ServiceController { New-FakeController $script:World $Name }
        Mock Get-ProcessFact { @{ name = 'p'; began = $null } }
        Mock Register-UndoTask { $script:World.tasks[$Id] = $Xml }
        Mock Unregister-UndoTask { $script:World.tasks.Remove($Id) }
        Mock Assert-UndoTask {
            if (-not $script:World.tasks.ContainsKey($Id)) {
                throw 'the task is gone'
            }
        }
        Mock Start-Sleep { $script:World.clock += 0.5 }
        Mock Get-Uptime { $script:World.clock }
    }

    BeforeEach {
        $Folder = [IO.Path]::Combine($TestDrive, [Guid]::NewGuid().ToString())
        $Product = [IO.Path]::Combine($TestDrive, [Guid]::NewGuid().ToString())
        $null = [IO.Directory]::CreateDirectory($Product)
        $Masthead = [IO.Path]::Combine($Product, 'actionsite.afxm')
        $Cache = [IO.Path]::Combine($Product, 'cache')
        $New = [IO.Path]::Combine($Product, 'new')
        Write-Text $Masthead 'port=52311'
        Write-Text $Cache 'cached'
        $script:World = New-World $TestDrive
        $script:World.registry['HKLM\SOFTWARE'] = @{}
        $script:World.registry['HKLM\SOFTWARE\BigFix'] = @{ Port = @('String', '52311') }
        Add-FakeService -World $script:World -Name 'BESClient' -State 'Running'
        Add-FakeService -World $script:World -Name 'Helper' -State 'Stopped'
        $Id = 'a' * 32
        $Steps = @(
            @{ step = 'stop'; service = 'BESClient'; seconds = 10 }
            @{ step = 'write'; path = $Masthead; expected = (Get-FileText $Masthead); result = (Get-Sha256 (Get-Utf8 'port=55000'))
                splices = @(@{ at = 5; length = 5; bytes = (Get-Base64 '55000') }) }
            @{ step = 'write'; path = $New; expected = $null; content = (Get-Base64 'made') }
            @{ step = 'remove'; path = $Cache; expected = (Get-FileText $Cache) }
            @{ step = 'registry'; key = 'HKLM\SOFTWARE\BigFix'; name = 'Port'
                expected = @{ name = 'Port'; type = 'String'; data = '52311' }; wanted = @{ name = 'Port'; type = 'String'; data = '55000' } }
            @{ step = 'registry'; key = 'HKLM\SOFTWARE\BigFix\Settings\New'; name = 'value'
                expected = $null; wanted = @{ name = 'value'; type = 'DWord'; data = 55000 } }
            @{ step = 'start'; service = 'Helper'; seconds = 10 }
            @{ step = 'start'; service = 'BESClient'; seconds = 10 }
            @{ step = 'wait'; seconds = 5; settle = 1; until = @(@{ kind = 'service'; service = 'BESClient'; state = 'running' }) }
        )

        function Get-Picture {
            # All that a change of these steps touches.
            $parts = foreach ($path in $Masthead, $New, $Cache) {
                if ([IO.File]::Exists($path)) {
                    Read-Text $path
                }
                else {
                    'none'
                }
            }
            $parts += foreach ($key in @($script:World.registry.Keys | Sort-Object)) {
                $values = $script:World.registry[$key]
                "$key $(@($values.Keys | Sort-Object | ForEach-Object { "$_=$($values[$_][1])" }) -join ',')"
            }
            $parts += foreach ($name in 'BESClient', 'Helper') { "$name $($script:World.services[$name].State)" }
            $parts -join '; '
        }
        $Before = 'port=52311; none; cached; HKLM\SOFTWARE ; HKLM\SOFTWARE\BigFix Port=52311; BESClient Running; Helper Stopped'
        $After = 'port=55000; made; none; HKLM\SOFTWARE ; HKLM\SOFTWARE\BigFix Port=55000; HKLM\SOFTWARE\BigFix\Settings ; ' +
            'HKLM\SOFTWARE\BigFix\Settings\New value=55000; BESClient Running; Helper Running'
        Get-Picture | Should -BeExactly $Before
    }

    It 'is carried out, in its order, and leaves its state alone' {
        $answer = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $answer.sentence | Should -BeNullOrEmpty
        $answer.outcome | Should -Be 'applied'
        $answer.ok | Should -BeTrue
        @($answer.done).Count | Should -Be 9
        @($answer.done | ForEach-Object { $_.changed }) | Should -Be @($true, $true, $true, $true, $true, $true, $true, $true, $false)
        $answer.done[8].notes[0] | Should -BeLike '*BESClient is in state running*'
        $answer.found.read | Should -BeTrue
        Get-Picture | Should -BeExactly $After
        $script:World.asked | Should -Be @('stop BESClient', 'start Helper', 'start BESClient')
        $script:World.tasks.Count | Should -Be 0
        @([IO.Directory]::GetFiles((Get-ChangeFolder $Id)) | ForEach-Object { [IO.Path]::GetFileName($_) }) | Should -Be @('state.json')
        @([IO.Directory]::GetFiles($Product, '*portshift*')).Count | Should -Be 0
    }

    It 'is not carried out twice: its outcome is answered again' {
        $null = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $asked = $script:World.asked.Count
        $again = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $again.outcome | Should -Be 'applied'
        @($again.done).Count | Should -Be 9
        $script:World.asked.Count | Should -Be $asked
    }

    It 'has its task before its first step' {
        Mock Invoke-Step {
            $script:World.tasks.Count | Should -Be 1
            throw 'seen'
        }
        (Invoke-Request (ConvertTo-Request $Steps $Id) $false).sentence | Should -BeLike '*step 0 (stop BESClient) failed: seen*'
    }

    It 'is refused where the task cannot be made, and then nothing is touched' {
        Mock Register-UndoTask { throw 'Access is denied.' }
        $answer = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $answer.outcome | Should -Be 'refused'
        $answer.sentence | Should -BeLike '*Access is denied.*'
        Get-Picture | Should -BeExactly $Before
        @(Get-ChangeId).Count | Should -Be 0
    }

    It 'is only looked at in check mode' {
        $answer = Invoke-Request (ConvertTo-Request $Steps $Id) $true
        $answer.outcome | Should -Be 'none'
        $answer.ok | Should -BeTrue
        Get-Picture | Should -BeExactly $Before
        [IO.Directory]::Exists($Folder) | Should -BeFalse
    }

    It 'is refused where the guard of step <index> does not hold, before anything is touched' -ForEach @(
        @{ index = 1 }
        @{ index = 2 }
        @{ index = 3 }
        @{ index = 4 }
        @{ index = 5 }
    ) {
        switch ($index) {
            1 { Write-Text $Masthead 'port=52399' }
            2 { Write-Text $New 'theirs' }
            3 { [IO.File]::Delete($Cache) }
            4 { $script:World.registry['HKLM\SOFTWARE\BigFix']['Port'] = @('DWord', 52311) }
            5 { $script:World.registry['HKLM\SOFTWARE\BigFix\Settings\New'] = @{ value = @('DWord', 1) } }
        }
        $now = Get-Picture
        $answer = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $answer.outcome | Should -Be 'refused'
        $answer.sentence | Should -BeLike "*step $index (*"
        $answer.sentence | Should -Not -BeLike '*52399*'
        Get-Picture | Should -BeExactly $now
        $script:World.asked.Count | Should -Be 0
    }

    It 'undoes itself where step <index> fails' -ForEach @(
        @{ index = 0 }
        @{ index = 2 }
        @{ index = 4 }
        @{ index = 6 }
        @{ index = 7 }
        @{ index = 8 }
    ) {
        $script:Broken = $index
        $script:Calls = 0
        Mock Assert-Time {
            $script:Calls++
            if ($script:Calls -eq $script:Broken + 1) {
                throw 'the disk is full'
            }
        }
        $answer = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $answer.outcome | Should -Be 'undone'
        $answer.failed_step | Should -Be $index
        $answer.sentence | Should -BeLike '*the disk is full*'
        @($answer.done).Count | Should -Be $index
        Get-Picture | Should -BeExactly $Before
        $script:World.tasks.Count | Should -Be 0
        # One that has touched nothing is none to be told of.
        @((Read-Unfinished '').rows | Where-Object { $_.state -eq 'undone' }).Count | Should -Be ([int] ($index -gt 0))
    }

    It 'undoes itself where the proof does not come' {
        $Steps[8].until = @(@{ kind = 'service'; service = 'BESClient'; state = 'stopped' })
        $answer = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $answer.outcome | Should -Be 'undone'
        $answer.sentence | Should -BeLike '*the proof is missing (the service BESClient is in state running*'
        Get-Picture | Should -BeExactly $Before
    }

    It 'is undone by the task where it was cut off after step <index>, half done: <half>' -ForEach @(
        foreach ($at in @(0, 1, 2, 3, 4, 5, 6, 7, 8)) {
            @{ index = $at; half = $false }
            @{ index = $at; half = $true }
        }
    ) {
        # As Invoke-Apply does it, up to the cut: half done, the journal has a step that was not begun.
        Assert-Folder
        $asked = ConvertFrom-Json -InputObject (ConvertTo-Request $Steps $Id)
        $change = Open-Change $Id @{ id = $Id; state = 'applying'; sentence = $null; cause = $null; timeout = 600; began = 1; seconds = 0; failed_step = $null
            done = (ConvertTo-DoneText @()) }
        $change.Deadline = 1000
        Start-Change -Change $change -Asked $asked
        for ($at = 0; $at -lt $index; $at++) {
            $null = Invoke-Step -Change $change -Step $asked.steps[$at] -Index $at
        }
        if ($half) {
            Mock Set-Setting { throw 'cut' }
            Mock Stop-ServiceInTime { throw 'cut' }
            Mock Start-ServiceInTime { throw 'cut' }
            Mock Wait-Proof { throw 'cut' }
        }
        try {
            $null = Invoke-Step -Change $change -Step $asked.steps[$index] -Index $index
        }
        catch {
            $null = $_
        }
        if ($half) {
            Mock Set-Setting { & $script:RealSet $Entry $Now $Text $Bytes }
            Mock Stop-ServiceInTime { & $script:RealStop $Name $Seconds }
            Mock Start-ServiceInTime { & $script:RealStart $Name $Seconds }
        }
        Complete-Change $Id
        Get-Picture | Should -BeExactly $Before
        (Read-State $Id).state | Should -Be 'undone'
        $script:World.tasks.Count | Should -Be 0
        # A read writes nothing, so that the next one tells it too.
        $state = Read-Text ([IO.Path]::Combine((Get-ChangeFolder $Id), 'state.json'))
        foreach ($check in $true, $false) {
            $told = (Invoke-Request '{"version": 1, "verb": "read", "wanted": {}}' $check).unfinished
            @($told | ForEach-Object { "$($_.id) $($_.state) $($_.running)" }) | Should -Be @("$Id undone False")
        }
        Read-Text ([IO.Path]::Combine((Get-ChangeFolder $Id), 'state.json')) | Should -BeExactly $state
        # Both triggers at once, or once more: nothing is left to do.
        Complete-Change $Id
        Get-Picture | Should -BeExactly $Before
    }

    It 'is ended by a request without steps that knows its id, and one of another id does nothing' {
        Assert-Folder
        $asked = ConvertFrom-Json -InputObject (ConvertTo-Request $Steps $Id)
        $change = Open-Change $Id @{ id = $Id; state = 'applying'; sentence = $null; cause = $null; timeout = 600; began = 1; seconds = 0; failed_step = $null
            done = (ConvertTo-DoneText @()) }
        $change.Deadline = 1000
        Start-Change -Change $change -Asked $asked
        $null = Invoke-Step -Change $change -Step $asked.steps[0] -Index 0
        $null = Invoke-Step -Change $change -Step $asked.steps[1] -Index 1
        # None of these is an empty list for both versions of PowerShell.
        foreach ($none in '[]', 'null') {
            $answer = Invoke-Request ('{"version": 1, "verb": "apply", "id": "' + $Id + '", "timeout": 600, "steps": ' + $none + '}') $false
            $answer.outcome | Should -Be 'undone'
            Get-Picture | Should -BeExactly $Before
            $answer = Invoke-Request ('{"version": 1, "verb": "apply", "id": "' + ('c' * 32) + '", "timeout": 600, "steps": ' + $none + '}') $false
            $answer.outcome | Should -Be 'applied'
            Get-Picture | Should -BeExactly $Before
        }
    }

    It 'does not believe a line of the journal that was cut' {
        Assert-Folder
        $change = Open-Change $Id @{ state = 'applying' }
        $null = [IO.Directory]::CreateDirectory($change.Folder)
        Add-Journal $change @{ kind = 'file'; target = 'x'; before = ''; after = 'y' }
        [IO.File]::AppendAllText([IO.Path]::Combine($change.Folder, 'journal'), '{"kind": "fi')
        @(Read-Journal $change).Count | Should -Be 1
    }

    It 'that was cut off is undone by the next one, which is refused' {
        Assert-Folder
        $asked = ConvertFrom-Json -InputObject (ConvertTo-Request $Steps $Id)
        $change = Open-Change $Id @{ id = $Id; state = 'applying'; sentence = $null; cause = $null; timeout = 600; began = 1; seconds = 0; failed_step = $null
            done = (ConvertTo-DoneText @()) }
        Start-Change -Change $change -Asked $asked
        $null = Invoke-Step -Change $change -Step $asked.steps[0] -Index 0
        $answer = Invoke-Request (ConvertTo-Request $Steps ('b' * 32)) $false
        $answer.outcome | Should -Be 'refused'
        $answer.sentence | Should -BeLike '*cut off and was undone just now*'
        Get-Picture | Should -BeExactly $Before
        $again = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $again.outcome | Should -Be 'undone'
    }

    It 'is refused while another is at work' {
        Assert-Folder
        $lock = Open-Lock 1
        try {
            $answer = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        }
        finally {
            $lock.Dispose()
        }
        $answer.outcome | Should -Be 'refused'
        $answer.sentence | Should -BeLike '*another change of this host is under way*'
        Get-Picture | Should -BeExactly $Before
    }

    It 'leaves what another has changed since, and says so' {
        Mock Wait-Proof {
            Write-Text $Masthead 'theirs'
            throw 'no proof'
        }
        $answer = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $answer.outcome | Should -Be 'trouble'
        $answer.sentence | Should -BeLike '*was changed by something else since*'
        $answer.sentence.Contains($Masthead) | Should -BeTrue
        Read-Text $Masthead | Should -BeExactly 'theirs'
        $script:World.services['BESClient'].State | Should -Be 'Running'
        # What the file was is kept for a person.
        Read-Text ([IO.Path]::Combine((Get-ChangeFolder $Id), '1.before')) | Should -BeExactly 'port=52311'
        $script:World.tasks.Count | Should -Be 0
    }

    It 'tries again each minute where a service hangs, until it runs' {
        $row = $script:World.services['BESClient']
        $row.OnStop = 'Stop Pending'
        $answer = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $answer.outcome | Should -Be 'trouble'
        $answer.failed_step | Should -Be 0
        $answer.sentence | Should -BeLike '*stop_pending*tries again each minute*'
        Read-Text $Masthead | Should -BeExactly 'port=52311'
        $script:World.tasks.Count | Should -Be 1
        $told = (Read-Unfinished '').rows[0]
        "$($told.state) $($told.running) $($told.timeout)" | Should -Be 'undoing False 600'
        (Invoke-Request (ConvertTo-Request $Steps ('b' * 32)) $false).sentence | Should -BeLike '*is not undone yet*'
        # Its process was ended by hand.
        $row.OnStop = 'Stopped'
        $row.State = 'Stopped'
        Complete-Change $Id
        $row.State | Should -Be 'Running'
        (Read-State $Id).state | Should -Be 'undone'
        (Read-State $Id).sentence | Should -Not -BeLike '*tries again*'
        $script:World.tasks.Count | Should -Be 0
    }

    It 'lets services run while a file stays locked, for times that grow, and tries at once where it is asked' {
        $script:Locked = $true
        Mock Undo-Setting {
            if ($script:Locked -and $First.kind -eq 'file') {
                throw 'it is used by another process'
            }
            & $script:RealUndo $Change $First $Known
        }
        Mock Wait-Proof { throw 'no proof' }
        $answer = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $answer.outcome | Should -Be 'trouble'
        $answer.sentence | Should -BeLike '*it is used by another process*tries again when 30 s have passed*'
        $row = $script:World.services['BESClient']
        $row.State | Should -Be 'Running'
        $script:World.asked.Clear()
        Complete-Change $Id
        @($script:World.asked).Count | Should -Be 0
        # One that has ended is started all the same.
        $row.State = 'Stopped'
        Complete-Change $Id
        $script:World.asked | Should -Be @('start BESClient')
        $script:World.clock += 31
        Complete-Change $Id
        @($script:World.asked | Where-Object { $_ -eq 'stop BESClient' }).Count | Should -Be 1
        (Read-State $Id).pause | Should -Be 90
        (Read-Unfinished '').rows[0].sentence | Should -BeLike '*when 90 s have passed*'
        # The clock of a boot begins anew.
        $script:World.clock = 1
        Complete-Change $Id
        (Read-State $Id).pause | Should -Be 210
        $refused = Invoke-Request (ConvertTo-Request $Steps ('b' * 32)) $false
        $refused.outcome | Should -Be 'refused'
        $refused.sentence.Contains("delete $(Get-ChangeFolder $Id)") | Should -BeTrue
        $script:Locked = $false
        Complete-Change $Id
        (Read-State $Id).state | Should -Be 'undoing'
        (Invoke-Request (ConvertTo-Request $Steps $Id) $false).outcome | Should -Be 'undone'
        Get-Picture | Should -BeExactly $Before
    }

    It 'stops nothing that runs when it tries again with all as it was' {
        $answer = Invoke-Request (ConvertTo-Request @($Steps[0], $Steps[7], @{ step = 'start'; service = 'Helper'; seconds = 10 }) $Id) $false
        $answer.outcome | Should -Be 'applied'
        $change = Open-Change $Id (Read-State $Id)
        Add-Journal $change @{ kind = 'service'; target = 'BESClient'; was = 'running'; seconds = 10 }
        $script:World.asked.Clear()
        Undo-Change $change 'a cause'
        @($script:World.asked).Count | Should -Be 0
    }

    It 'starts what ran though the disk is full, and its state cannot be written' {
        $Steps[8].until = @(@{ kind = 'service'; service = 'BESClient'; state = 'stopped' })
        $script:RealWrite = ${function:Write-State}
        Mock Write-State {
            if (('undoing', 'undone') -contains $News.state) {
                throw 'There is not enough space on the disk.'
            }
            & $script:RealWrite $Change $News
        }
        $answer = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $answer.outcome | Should -Be 'trouble'
        $answer.sentence | Should -BeLike '*not enough space*'
        Get-Picture | Should -BeExactly $Before
        $script:World.tasks.Count | Should -Be 1
    }

    It 'gives back the room that it kept, before it writes what became of it' {
        $reserve = [IO.Path]::Combine((Get-ChangeFolder $Id), 'reserve')
        Mock Wait-Proof {
            $script:Kept = [IO.FileInfo]::new($reserve).Length
            throw 'no proof'
        }
        $null = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $script:Kept | Should -Be $ReserveBytes
        [IO.File]::Exists($reserve) | Should -BeFalse
    }

    It 'is refused where a service is needed by others that run and that it does not stop' {
        Add-FakeService -World $script:World -Name 'Other' -State 'Running'
        $script:World.services['BESClient'].NeededBy = @('Other')
        $answer = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $answer.outcome | Should -Be 'refused'
        $answer.sentence | Should -BeLike '*step 0 (stop BESClient)*is needed by Other*'
        $script:World.asked.Count | Should -Be 0
        $first = @{ step = 'stop'; service = 'Other'; seconds = 10 }
        (Invoke-Request (ConvertTo-Request (@($first) + $Steps) ('b' * 32)) $false).outcome | Should -Be 'applied'
    }

    It 'does not stop a service whose own stop was never asked' {
        # It is needed only since the guards were looked at.
        $own = [IO.Path]::Combine($Folder, 'bigfix', 'record.json')
        Mock Test-OwnPath { $Path.StartsWith($Folder) }
        Mock Test-Guard { $null }
        Add-FakeService -World $script:World -Name 'Other' -State 'Running'
        $script:World.services['BESClient'].NeededBy = @('Other')
        $record = @{ step = 'write'; path = $own; expected = $null; content = '' }
        $answer = Invoke-Request (ConvertTo-Request (@($record) + $Steps) $Id) $false
        $answer.outcome | Should -Be 'undone'
        $answer.failed_step | Should -Be 1
        $script:World.asked.Count | Should -Be 0
        [IO.File]::Exists($own) | Should -BeFalse
    }

    It 'stops nothing where its task is gone by then' {
        Mock Register-UndoTask { $null }
        $answer = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $answer.outcome | Should -Be 'undone'
        $answer.sentence | Should -BeLike '*step 0 (stop BESClient) failed: the task is gone*'
        $script:World.asked.Count | Should -Be 0
    }

    It 'is told as long as it is half way, until another one that settles it is applied' {
        Mock Wait-Proof {
            Write-Text $Masthead 'theirs'
            throw 'no proof'
        }
        $null = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $helper = @(@{ step = 'start'; service = 'Helper'; seconds = 10 })
        (Invoke-Request (ConvertTo-Request $helper ('b' * 32)) $false).outcome | Should -Be 'applied'
        @((Read-Unfinished '').rows | ForEach-Object { "$($_.id) $($_.state)" }) | Should -Be @("$Id trouble")
        $asked = ConvertTo-Json -Depth 12 -InputObject @{ version = 1; verb = 'apply'; wanted = @{}; id = ('c' * 32); timeout = 600; steps = $helper
            settles = @($Id) }
        $answer = Invoke-Request $asked $false
        $answer.outcome | Should -Be 'applied'
        @($answer.unfinished).Count | Should -Be 0
        # Its outcome is told for a day to one that asks by its id, and so are those of the others.
        (Invoke-Request (ConvertTo-Request $Steps $Id) $false).outcome | Should -Be 'trouble'
        (Invoke-Request (ConvertTo-Request $helper ('b' * 32)) $false).outcome | Should -Be 'applied'
        Mock Test-Recent { $false }
        Remove-OldChange
        @(Get-ChangeId).Count | Should -Be 0
    }

    It 'believes and writes nothing where its folder may be another''s' {
        $null = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $path = [IO.Path]::Combine((Get-ChangeFolder $Id), 'state.json')
        Write-Text "$path.portshift-new" 'planted'
        Mock Get-FolderFault { "$Path can be changed by more" }
        $answer = Invoke-Request '{"version": 1, "verb": "read", "wanted": {}}' $false
        $answer.ok | Should -BeTrue
        @($answer.unfinished).Count | Should -Be 0
        $answer.sentence | Should -BeLike '*can be changed by more*'
        Read-Text "$path.portshift-new" | Should -BeExactly 'planted'
        (Invoke-Request (ConvertTo-Request $Steps ('b' * 32)) $false).outcome | Should -Be 'refused'
        { Complete-Change $Id } | Should -Throw '*can be changed by more*'
    }

    It 'names a state that cannot be read, and what to delete, and tells the other changes' -ForEach @(
        @{ text = '{'; words = '*' }
        @{ text = '{}'; words = '*it names no state*' }
        @{ text = ''; words = '*' }
    ) {
        Mock Wait-Proof { throw 'no proof' }
        $null = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $other = 'b' * 32
        $null = Invoke-Request (ConvertTo-Request $Steps $other) $false
        Write-Text ([IO.Path]::Combine((Get-ChangeFolder $other), 'state.json')) $text
        $answer = Invoke-Request '{"version": 1, "verb": "read", "wanted": {}}' $false
        $answer.ok | Should -BeTrue
        @($answer.unfinished | ForEach-Object { $_.id }) | Should -Be @($Id)
        $answer.sentence | Should -BeLike "*state.json*cannot be read*delete the folder $(Get-ChangeFolder $other)"
        $answer.sentence | Should -BeLike $words
        $refused = Invoke-Request (ConvertTo-Request $Steps ('c' * 32)) $false
        $refused.outcome | Should -Be 'refused'
        $refused.sentence | Should -BeLike "*delete the folder $(Get-ChangeFolder $other)*"
    }

    It 'is carried out where an older one cannot be removed' {
        $null = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        Mock Test-Recent { $false }
        Mock Unregister-UndoTask { throw 'the scheduler does not answer' } -ParameterFilter { $Id -eq ('a' * 32) }
        $helper = @(@{ step = 'start'; service = 'Helper'; seconds = 10 })
        (Invoke-Request (ConvertTo-Request $helper ('b' * 32)) $false).outcome | Should -Be 'applied'
        [IO.Directory]::Exists((Get-ChangeFolder $Id)) | Should -BeTrue
    }

    It 'looks at a folder of its own once more when it was made' {
        $script:Looks = 0
        Mock Get-FolderFault {
            $script:Looks++
            if ($script:Looks -gt 1) {
                'another was quicker'
            }
        }
        { Assert-OwnFolder ([IO.Path]::Combine($Product, 'own')) } | Should -Throw '*another was quicker*'
    }

    It 'takes only folders with the name of an id for changes' {
        Assert-Folder
        foreach ($name in ('a' * 32), ('A' * 31), 'x', ('b' * 33)) {
            $null = [IO.Directory]::CreateDirectory([IO.Path]::Combine($Folder, 'changes', $name))
        }
        @(Get-ChangeId) | Should -Be @('a' * 32)
    }

    It 'is left alone by the task while its process is at work, and says that it is' {
        Assert-Folder
        $asked = ConvertFrom-Json -InputObject (ConvertTo-Request $Steps $Id)
        $change = Open-Change $Id @{ id = $Id; state = 'applying'; sentence = $null; cause = $null; timeout = 600; began = 1; seconds = 0
            until = 1500; process = 1; process_began = 1; failed_step = $null; done = (ConvertTo-DoneText @()) }
        Start-Change -Change $change -Asked $asked
        Mock Get-ProcessFact { @{ name = 'p'; began = [double] 1 } }
        Mock Stop-Process { $script:World.asked.Add("kill $Id") }
        $lock = Open-Lock 1
        try {
            (Read-Unfinished '').rows[0].running | Should -BeTrue
            Complete-Change $Id
            $script:World.asked.Count | Should -Be 0
            # Long over its time it is ended.
            $script:World.clock = 1600
            { Complete-Change $Id } | Should -Throw '*holds*lock*'
            $script:World.asked | Should -Be @('kill 1')
        }
        finally {
            $lock.Dispose()
        }
        (Read-Unfinished '').rows[0].running | Should -BeFalse
        Complete-Change $Id
        (Read-State $Id).state | Should -Be 'undone'
    }

    It 'keeps a key that was there and empty' {
        $script:World.registry['HKLM\SOFTWARE\BigFix\Empty'] = @{}
        $step = @{ step = 'registry'; key = 'HKLM\SOFTWARE\BigFix\Empty'; name = 'v'; expected = $null
            wanted = @{ name = 'v'; type = 'String'; data = '1' } }
        $wait = @{ step = 'wait'; seconds = 1; settle = 0; until = @(@{ kind = 'service'; service = 'BESClient'; state = 'stopped' }) }
        (Invoke-Request (ConvertTo-Request @($step, $wait) $Id) $false).outcome | Should -Be 'undone'
        $script:World.registry.ContainsKey('HKLM\SOFTWARE\BigFix\Empty') | Should -BeTrue
        $script:World.registry['HKLM\SOFTWARE\BigFix\Empty'].Count | Should -Be 0
    }

    It 'tells of an owner that it could not keep' {
        $script:Owners = @('O:S-1-5-80D:x', 'O:BAD:x')
        Mock Get-Sddl {
            $next, $script:Owners = $script:Owners
            $next
        }
        $answer = Invoke-Request (ConvertTo-Request @($Steps[1]) $Id) $false
        $answer.outcome | Should -Be 'applied'
        $answer.done[0].notes[0] | Should -BeLike '*has the owner O:BA now instead of O:S-1-5-80*'
    }

    It 'puts no data of the registry into a sentence' {
        $script:World.registry['HKLM\SOFTWARE\BigFix']['Port'] = @('String', 'RESTPassword-geheim')
        $answer = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $answer.outcome | Should -Be 'refused'
        $answer.sentence | Should -Not -BeLike '*geheim*'
        $answer.sentence | Should -Not -BeLike '*55000*'
    }

    It 'is refused to an account that is no administrator' {
        Mock Test-Administrator { $false }
        $answer = Invoke-Request (ConvertTo-Request $Steps $Id) $false
        $answer.outcome | Should -Be 'refused'
        $answer.sentence | Should -BeLike '*is no administrator*'
        [IO.Directory]::Exists($Folder) | Should -BeFalse
    }

    It 'makes the folders of its own records, and no others' {
        $own = [IO.Path]::Combine($Folder, 'bigfix', 'record.json')
        Mock Test-OwnPath { $Path.StartsWith($Folder) }
        (Invoke-Request (ConvertTo-Request @(@{ step = 'write'; path = $own; expected = $null; content = '' }) $Id) $false).outcome | Should -Be 'applied'
        [IO.File]::Exists($own) | Should -BeTrue
        $other = [IO.Path]::Combine($Product, 'no', 'x')
        $answer = Invoke-Request (ConvertTo-Request @(@{ step = 'write'; path = $other; expected = $null; content = '' }) ('c' * 32)) $false
        $answer.outcome | Should -Be 'refused'
        $answer.sentence | Should -BeLike '*is not there*'
    }
}

Describe 'the scheduled task' {
    BeforeAll {
        Mock Get-Uptime { 1 }
        $Copy = [IO.Path]::Combine($TestDrive, 'host.ps1')
        [IO.File]::WriteAllText($Copy, (Get-ScriptText))
        $Task = [xml] (Get-TaskXml -Id ('d' * 32) -Script $Copy)
        $Line = $Task.Task.Actions.Exec.Arguments
        $Command = [Text.Encoding]::Unicode.GetString([Convert]::FromBase64String(($Line -split ' ')[-1]))
    }

    It 'waits by no clock that can be set' {
        @($Task.Task.Triggers.ChildNodes | ForEach-Object { $_.LocalName }) | Should -Be @('RegistrationTrigger', 'BootTrigger')
        foreach ($trigger in $Task.Task.Triggers.ChildNodes) {
            $trigger.Delay | Should -Be 'PT60S'
            $trigger.Repetition.Interval | Should -Be 'PT1M'
        }
        $Task.OuterXml | Should -Not -Match '\d{4}-\d{2}-\d{2}'
    }

    It 'starts beside an instance that hangs, which it ends' {
        $Task.Task.Settings.MultipleInstancesPolicy | Should -Be 'Parallel'
    }

    It 'runs as SYSTEM, on batteries too, as long as it takes' {
        $Task.Task.Principals.Principal.UserId | Should -Be 'S-1-5-18'
        $Task.Task.Settings.DisallowStartIfOnBatteries | Should -Be 'false'
        $Task.Task.Settings.StopIfGoingOnBatteries | Should -Be 'false'
        $Task.Task.Settings.ExecutionTimeLimit | Should -Be 'PT0S'
    }

    It 'runs no file by name, and no other text than the one that was copied' {
        $Line | Should -Not -BeLike '*-File*'
        $Line.Length | Should -BeLessThan 8000
        $Command | Should -BeLike "*Complete-Change '$('d' * 32)'*"
        $sum = (Get-Sha256 ([IO.File]::ReadAllBytes($Copy)))
        $Command | Should -BeLike "*$sum*"
    }

    It 'takes no module but those of Windows, ends at an error, and goes where its script is gone' {
        $lines = $Command -split "`r?`n"
        $lines[0] | Should -BeExactly '$env:PSModulePath = "$PSHOME\Modules"'
        $lines[1] | Should -BeExactly '$ErrorActionPreference = ''Stop'''
        $Command | Should -BeLike "*DeleteTask('portshift-undo-$('d' * 32)', 0)*"
    }
}

Describe 'the protected folder' -Skip:(-not $OnWindows) {
    # Needs an account that is an administrator.
    BeforeEach {
        $Folder = [IO.Path]::Combine($TestDrive, [Guid]::NewGuid().ToString())
    }

    It 'is made for SYSTEM and the Administrators' {
        Assert-Folder
        $security = Get-Security ([IO.DirectoryInfo]::new($Folder))
        $security.AreAccessRulesProtected | Should -BeTrue
        { Assert-Folder } | Should -Not -Throw
    }

    It 'is refused where a user may have made it' {
        $null = [IO.Directory]::CreateDirectory($Folder)
        $me = [Security.Principal.WindowsIdentity]::GetCurrent().User.Value
        Set-FolderSecurity $Folder "O:${me}D:P(A;OICI;FA;;;$me)"
        { Assert-Folder } | Should -Throw '*can be changed by more than SYSTEM and the Administrators*'
    }

    It 'is closed where an administrator made it, unless it holds what a user may have made' {
        $null = [IO.Directory]::CreateDirectory($Folder)
        Set-FolderSecurity $Folder 'O:BAD:(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;OICI;FR;;;BU)'
        $child = [IO.Path]::Combine($Folder, 'planted')
        Write-Text $child 'x'
        Set-Sddl $child 'O:BAD:P(A;;FA;;;BA)(A;;FA;;;WD)'
        { Assert-Folder } | Should -Throw '*planted can be changed by more*'
        (Get-SecurityFact ([IO.DirectoryInfo]::new($Folder))).protected | Should -BeFalse
        Set-Sddl $child 'O:BAD:P(A;;FA;;;BA)'
        Assert-Folder
        (Get-SecurityFact ([IO.DirectoryInfo]::new($Folder))).protected | Should -BeTrue
        [IO.Directory]::Exists([IO.Path]::Combine($Folder, 'changes')) | Should -BeTrue
    }

    It 'is refused where a link leads to it' {
        $real = [IO.Path]::Combine($TestDrive, [Guid]::NewGuid().ToString())
        $null = [IO.Directory]::CreateDirectory($real)
        $null = New-Item -ItemType Junction -Path $Folder -Value $real
        { Assert-Folder } | Should -Throw '*is a link*'
    }

    It 'keeps the ACL of a file that is replaced' {
        $path = [IO.Path]::Combine($TestDrive, [Guid]::NewGuid().ToString())
        Write-Text $path 'one'
        Set-Sddl $path 'O:BAD:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FR;;;NS)'
        $before = Get-Sddl $path
        Set-FileContent -Path $path -Bytes (Get-Utf8 'two') -Expected (Get-FileText $path) -Sddl $before
        (Get-Sddl $path) -replace 'D:PAI', 'D:P' | Should -BeExactly ($before -replace 'D:PAI', 'D:P')
        Read-Text $path | Should -BeExactly 'two'
    }
}

Describe 'the real registry' -Skip:(-not $OnWindows) {
    # Needs an account that is an administrator.  In a 32-bit process too: WOW6432Node is a key by its name.
    It 'sets and takes away, and finds the same key in both kinds of process' {
        $key = 'HKLM\SOFTWARE\WOW6432Node\portshift-pester\Settings'
        $made = Get-MissingKey $key
        try {
            $texts = 'String:a', 'DWord:4294967295', 'MultiString:.YQA=,.YgA=', 'Binary:Af8=', 'ExpandString:%x%', 'QWord:18446744073709551615'
            foreach ($text in $texts) {
                Set-RegistryText -Key $key -Name 'v' -Text $text
                Get-RegistryText $key 'v' | Should -BeExactly $text
            }
        }
        finally {
            Set-RegistryText -Key $key -Name 'v' -Text ''
            Remove-EmptyKey $key $made
        }
        Open-Key 'HKLM\SOFTWARE\WOW6432Node\portshift-pester' $false | Should -BeNullOrEmpty
    }
}

Describe 'the real scheduler' -Skip:(-not $OnWindows) {
    # Needs an account that is an administrator.
    It 'takes the task, and gives it up' {
        $id = 'e' * 32
        $copy = [IO.Path]::Combine($TestDrive, 'host.ps1')
        [IO.File]::WriteAllText($copy, (Get-ScriptText))
        Register-UndoTask $id (Get-TaskXml -Id $id -Script $copy)
        try {
            $task = (Get-TaskFolder).GetTask((Get-TaskName $id))
            $task.Enabled | Should -BeTrue
            $task.Definition.Triggers.Count | Should -Be 2
            $task.Definition.Triggers.Item(1).Repetition.Interval | Should -Be 'PT1M'
            $task.Definition.Principal.UserId | Should -Match '^(SYSTEM|S-1-5-18)$'
        }
        finally {
            Unregister-UndoTask $id
        }
        { (Get-TaskFolder).GetTask((Get-TaskName $id)) } | Should -Throw
        { Unregister-UndoTask $id } | Should -Not -Throw
    }
}
