# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the tests put in the place of a Windows host's registry, services, netsh and scheduler.  Files are real.
# Each is a table in $World, which a test fills and looks at afterwards.

function New-World([string] $Room) {
    @{
        # KEY -> @{ NAME = @(KIND, DATA) }
        registry = @{}
        # NAME -> @{ State; ProcessId; Needs; NeededBy; OnStop; OnStart; ExitCode; StartMode }
        services = @{}
        asked = [Collections.Generic.List[object]]::new()
        netsh = @{}
        tasks = @{}
        room = $Room
        clock = 0
    }
}

function New-FakeKey([hashtable] $World, [string] $Path) {
    $key = New-Object PSObject -Property @{ World = $World; Path = $Path }
    $methods = @{
        # The comma keeps a list a list, as .NET has it.
        GetValueNames = { , [string[]] @($this.World.registry[$this.Path].Keys) }
        GetSubKeyNames = {
            $start = $this.Path + '\'
            $below = @($this.World.registry.Keys | Where-Object { $_.StartsWith($start, [StringComparison]::OrdinalIgnoreCase) })
            , [string[]] @($below | ForEach-Object { $_.Substring($start.Length).Split('\')[0] } | Sort-Object -Unique)
        }
        GetValueKind = { $this.World.registry[$this.Path][$args[0]][0] }
        GetValue = {
            $data = $this.World.registry[$this.Path][$args[0]][1]
            if ($data -is [array]) {
                , $data
            }
            else {
                $data
            }
        }
        SetValue = { $this.World.registry[$this.Path][$args[0]] = @([string] $args[2], $args[1]) }
        DeleteValue = { $this.World.registry[$this.Path].Remove($args[0]) }
        CreateSubKey = {
            $path = $this.Path + '\' + $args[0]
            $this.World.registry[$path] = @{}
            New-FakeKey $this.World $path
        }
        DeleteSubKey = { $this.World.registry.Remove($this.Path + '\' + $args[0]) }
        Flush = { $null }
        Dispose = { $null }
    }
    foreach ($name in $methods.Keys) {
        $key.PSObject.Members.Add([Management.Automation.PSScriptMethod]::new($name, $methods[$name]))
    }
    $key
}

function Open-FakeKey([hashtable] $World, [string] $Path) {
    # A key is there when it was made, or when one below it was.
    if ($World.registry.ContainsKey($Path)) {
        return New-FakeKey $World $Path
    }
    $below = @($World.registry.Keys | Where-Object { $_.StartsWith($Path + '\', [StringComparison]::OrdinalIgnoreCase) })
    if ($below.Count -gt 0) {
        $World.registry[$Path] = @{}
        return New-FakeKey $World $Path
    }
}

function Add-FakeService([hashtable] $World, [string] $Name, [string] $State) {
    $World.services[$Name] = @{
        Name = $Name; DisplayName = "The $Name"; State = $State; ProcessId = 0; StartMode = 'Auto'; ExitCode = 0
        PathName = "C:\$Name.exe"; Needs = @(); NeededBy = @(); OnStop = 'Stopped'; OnStart = 'Running'
    }
    if ($State -eq 'Running') {
        $World.services[$Name].ProcessId = 4000 + $World.services.Count
    }
}

function Get-FakeRow([hashtable] $World, [string] $Filter) {
    foreach ($row in @($World.services.Values)) {
        if ($Filter -eq "Name='$($row.Name)'" -or ($row.ProcessId -gt 0 -and $Filter -eq "ProcessId=$($row.ProcessId)")) {
            New-Object PSObject -Property @{ Name = $row.Name; DisplayName = $row.DisplayName; State = $row.State
                ProcessId = $row.ProcessId; StartMode = $row.StartMode; ExitCode = $row.ExitCode; PathName = $row.PathName }
        }
    }
}

function New-FakeController([hashtable] $World, [string] $Name) {
    $row = $World.services[$Name]
    $needs = @($row.Needs | ForEach-Object { New-Object PSObject -Property @{ Name = $_; Status = $World.services[$_].State } })
    $by = @($row.NeededBy | ForEach-Object { New-Object PSObject -Property @{ Name = $_; Status = $World.services[$_].State } })
    $controller = New-Object PSObject -Property @{ World = $World; Name = $Name; ServicesDependedOn = $needs; DependentServices = $by }
    $methods = @{
        Stop = {
            $row = $this.World.services[$this.Name]
            $this.World.asked.Add("stop $($this.Name)")
            $row.State = $row.OnStop
            if ($row.State -eq 'Stopped') {
                $row.ProcessId = 0
            }
        }
        Start = {
            $row = $this.World.services[$this.Name]
            $this.World.asked.Add("start $($this.Name)")
            if ($row.OnStart -eq 'Refused') {
                throw 'The service did not start due to a logon failure.'
            }
            $row.State = $row.OnStart
            if ($row.State -eq 'Running') {
                $row.ProcessId = 5000 + $this.World.asked.Count
            }
        }
        Continue = { $this.World.services[$this.Name].State = 'Running' }
    }
    foreach ($method in $methods.Keys) {
        $controller.PSObject.Members.Add([Management.Automation.PSScriptMethod]::new($method, $methods[$method]))
    }
    $controller
}

function Get-Utf8([string] $Text) {
    return , [Text.UTF8Encoding]::new($false).GetBytes($Text)
}

function Get-Base64([string] $Text) {
    [Convert]::ToBase64String((Get-Utf8 $Text))
}

function Write-Text([string] $Path, [string] $Text) {
    [IO.File]::WriteAllBytes($Path, (Get-Utf8 $Text))
}

function Read-Text([string] $Path) {
    [IO.File]::ReadAllText($Path)
}

function ConvertTo-Request([object] $Steps, [string] $Id) {
    ConvertTo-Json -Depth 12 -InputObject @{ version = 1; verb = 'apply'; wanted = @{}; id = $Id; timeout = 600; steps = @($Steps) }
}
