# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Reads a Windows host, and changes it in steps each of which has its guard: protocol.py beside this file is the contract.
#
# ansible.windows.win_powershell runs this text with the parameter Request, and a scheduled task runs a copy of it to undo a change
# that was cut off.  Loaded without Request it defines functions and does nothing.  It is ASCII, since Windows PowerShell 5.1 reads
# a file without a byte order mark in the host's code page, and works in 5.1 and in 7.  It judges nothing of what it reads.

# Without SupportsShouldProcess win_powershell would not run it in check mode.
[CmdletBinding(SupportsShouldProcess)]
param(
    [string] $Request
)

# ---- constants

$Folder = 'C:\ProgramData\portshift'
# SYSTEM and the Administrators: who may own the folder and have access to it.
$Trusted = 'S-1-5-18', 'S-1-5-32-544'
$FolderSddl = 'O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)'
$FileSddl = 'O:BAD:P(A;;FA;;;SY)(A;;FA;;;BA)'
# What is read into memory at once: of a file that is changed, and of the end of what was added to a log, as on a Linux host.
$FileLimit = 67108864
$LogLimit = 4194304
# Kept free for the state of a change, in case the disk is full when it is undone.
$ReserveBytes = 262144
$ConnectionLimit = 5000
# How long a change, or its undoing, may take beyond its time before the task ends its process.
$Patience = 900
# How long services run before they are stopped once more for what could not be set back: each time twice as long and a bit.
$FirstPause = 30
$LongestPause = 3600
# How long what became of a change is kept.
$Day = 86400
# The attributes that a file is given back; others, such as Compressed, cannot be set in this way.
$AttributeMask = 8231

# ---- clocks, words, bytes

function Test-Same([string] $One, [string] $Other) {
    # PowerShell's own operators compare as people read: a zero or a soft hyphen counts as nothing.
    [string]::Equals($One, $Other, [StringComparison]::Ordinal)
}

function Get-Uptime {
    # Counts from boot on, and setting the clock does not touch it: every time limit here is measured by it.
    [Diagnostics.Stopwatch]::GetTimestamp() / [Diagnostics.Stopwatch]::Frequency
}

function ConvertTo-Epoch([DateTime] $Moment) {
    $began = [DateTime]::new(1970, 1, 1, 0, 0, 0, [DateTimeKind]::Utc)
    [Math]::Round(($Moment.ToUniversalTime() - $began).TotalSeconds, 3)
}

function Get-Reason([object] $Record) {
    # Of the innermost exception; PowerShell and .NET wrap them.
    ($Record.Exception.GetBaseException().Message -replace '\s+', ' ').Trim()
}

function Get-Sha256([byte[]] $Bytes) {
    $algorithm = [Security.Cryptography.SHA256]::Create()
    try {
        [BitConverter]::ToString($algorithm.ComputeHash($Bytes)).Replace('-', '').ToLowerInvariant()
    }
    finally {
        $algorithm.Dispose()
    }
}

function Open-Shared([string] $Path) {
    # An agent has its logs open for writing and renames them: any other way of sharing would fail, or make the agent fail.
    [IO.FileStream]::new($Path, [IO.FileMode]::Open, [IO.FileAccess]::Read, [IO.FileShare] 'ReadWrite, Delete')
}

function Read-Part([IO.Stream] $Stream, [long] $Offset, [int] $Count) {
    [void] $Stream.Seek($Offset, [IO.SeekOrigin]::Begin)
    $buffer = [byte[]]::new($Count)
    $filled = 0
    while ($filled -lt $Count) {
        $got = $Stream.Read($buffer, $filled, $Count - $filled)
        if ($got -eq 0) {
            break
        }
        $filled += $got
    }
    $bytes = [byte[]]::new($filled)
    [Array]::Copy($buffer, $bytes, $filled)
    # The comma keeps PowerShell from handing the bytes over one by one.
    return , $bytes
}

function Read-File([string] $Path, [long] $Limit) {
    $stream = Open-Shared $Path
    try {
        if ($stream.Length -gt $Limit) {
            throw "$Path has $($stream.Length) bytes, more than the $Limit that are read: look whether it is the right file"
        }
        return , (Read-Part -Stream $stream -Offset 0 -Count $stream.Length)
    }
    finally {
        $stream.Dispose()
    }
}

# ---- paths

function Get-KnownPath([string] $Path, [object] $Places) {
    if ($Path -match '^\{([^{}\\]+)\}(.*)$') {
        $place = $Places[$Matches[1]]
        if (-not $place) {
            throw "the registry of this host does not name the folder of ${Path}: see whether the product is installed"
        }
        $Path = $place.TrimEnd('\') + $Matches[2]
    }
    Assert-LocalPath $Path
    $Path
}

function Assert-LocalPath([string] $Path) {
    if ($Path -notmatch '^[A-Za-z]:\\[^/:*?"<>|]*$' -or $Path -match '\\\.{1,2}(\\|$)') {
        throw "$Path is no path on a drive of this host: name it from the drive letter on, without . and .. in it"
    }
}

function Resolve-StepPath([hashtable] $Change, [string] $Path) {
    $resolved = Get-KnownPath $Path $Change.Places
    $link = Get-Link $resolved
    if ($link) {
        throw "$link is a link or a mounted volume, and behind one nothing is changed: name the folder that it leads to"
    }
    $resolved
}

function Get-Link([string] $Path) {
    # The innermost component that is a reparse point: a user who may make a folder can lead a path elsewhere by one.
    for ($part = $Path; $part; $part = [IO.Path]::GetDirectoryName($part)) {
        try {
            $attributes = [IO.File]::GetAttributes($part)
        }
        catch [IO.FileNotFoundException], [IO.DirectoryNotFoundException] {
            continue
        }
        if ($attributes -band [IO.FileAttributes]::ReparsePoint) {
            return $part
        }
    }
}

# ---- owners and ACLs; .NET has these methods in one place for 5.1 and in another for 7

function Get-Security([IO.FileSystemInfo] $Item) {
    $sections = [Security.AccessControl.AccessControlSections] 'Access, Owner'
    if ($PSVersionTable.PSEdition -eq 'Core') {
        [IO.FileSystemAclExtensions]::GetAccessControl($Item, $sections)
    }
    else {
        $Item.GetAccessControl($sections)
    }
}

function Get-Sddl([string] $Path) {
    (Get-Security ([IO.FileInfo]::new($Path))).GetSecurityDescriptorSddlForm([Security.AccessControl.AccessControlSections] 'Access, Owner')
}

function Set-Sddl([string] $Path, [string] $Sddl) {
    $item = [IO.FileInfo]::new($Path)
    foreach ($section in 'Access', 'Owner') {
        $security = [Security.AccessControl.FileSecurity]::new()
        $security.SetSecurityDescriptorSddlForm($Sddl, [Security.AccessControl.AccessControlSections] $section)
        try {
            if ($PSVersionTable.PSEdition -eq 'Core') {
                [IO.FileSystemAclExtensions]::SetAccessControl($item, $security)
            }
            else {
                $item.SetAccessControl($security)
            }
        }
        catch {
            # Giving a file to another owner takes a privilege that not every administrator has; Invoke-FileStep tells of it.
            if ($section -eq 'Access') {
                throw
            }
        }
    }
}

function Get-FolderSecurity([string] $Sddl) {
    $security = [Security.AccessControl.DirectorySecurity]::new()
    $security.SetSecurityDescriptorSddlForm($Sddl, [Security.AccessControl.AccessControlSections] 'Access, Owner')
    $security
}

function New-ProtectedFolder([string] $Path) {
    # Made with its ACL, not given it later: every user may make files in a new folder under ProgramData.  Where a user was quicker
    # by a moment, Create leaves that user's folder as it is, without an error.
    if ($PSVersionTable.PSEdition -eq 'Core') {
        [IO.FileSystemAclExtensions]::Create([IO.DirectoryInfo]::new($Path), (Get-FolderSecurity $FolderSddl))
    }
    else {
        [IO.DirectoryInfo]::new($Path).Create((Get-FolderSecurity $FolderSddl))
    }
}

function Set-FolderSecurity([string] $Path, [string] $Sddl) {
    if ($PSVersionTable.PSEdition -eq 'Core') {
        [IO.FileSystemAclExtensions]::SetAccessControl([IO.DirectoryInfo]::new($Path), (Get-FolderSecurity $Sddl))
    }
    else {
        [IO.DirectoryInfo]::new($Path).SetAccessControl((Get-FolderSecurity $Sddl))
    }
}

function Get-SecurityFact([IO.FileSystemInfo] $Item) {
    # owner; safe: nothing but SYSTEM and the Administrators may have made or may change it; said, for a sentence.
    $security = Get-Security $Item
    $sid = [Security.Principal.SecurityIdentifier]
    $owner = $security.GetOwner($sid).Value
    $others = @($security.GetAccessRules($true, $true, $sid) |
            Where-Object { $_.AccessControlType -eq 'Allow' -and $Trusted -notcontains $_.IdentityReference.Value } |
            ForEach-Object { $_.IdentityReference.Value } | Sort-Object -Unique)
    @{
        owner = $owner
        safe = $Trusted -contains $owner -and $others.Count -eq 0
        protected = $security.AreAccessRulesProtected
        said = "owner $owner, inheritance $(-not $security.AreAccessRulesProtected), access of others: $($others -join ', ')"
    }
}

function Get-FolderFault([string] $Path) {
    # Why what lies in a folder of ours is neither believed nor run, or ''; also where there is none yet.
    $link = Get-Link $Path
    if ($link) {
        return "$link is a link, and what SYSTEM runs must not lie behind one: find out who made it, and remove it"
    }
    if ([IO.Directory]::Exists($Path)) {
        $facts = Get-SecurityFact ([IO.DirectoryInfo]::new($Path))
        # Those below have what they inherit from it.
        if (-not $facts.safe -or ($Path -eq $Folder -and -not $facts.protected)) {
            return "$Path can be changed by more than SYSTEM and the Administrators ($($facts.said)): look through it, keep what you know, " +
                'and remove it; it is made anew'
        }
    }
    return ''
}

function Get-ForeignChild([string] $Path) {
    # The first file or folder below it that a user may have made or may change, or ''.
    foreach ($item in [IO.DirectoryInfo]::new($Path).EnumerateFileSystemInfos()) {
        if (($item.Attributes -band [IO.FileAttributes]::ReparsePoint) -or -not (Get-SecurityFact $item).safe) {
            return $item.FullName
        }
        if ($item -is [IO.DirectoryInfo]) {
            $found = Get-ForeignChild $item.FullName
            if ($found) {
                return $found
            }
        }
    }
    return ''
}

function Protect-Folder {
    # One that an administrator made, or an earlier version did with a module, with the ACL that it inherited.
    if (-not [IO.Directory]::Exists($Folder) -or (Get-Link $Folder)) {
        return
    }
    $facts = Get-SecurityFact ([IO.DirectoryInfo]::new($Folder))
    if ($Trusted -notcontains $facts.owner -or ($facts.safe -and $facts.protected)) {
        return
    }
    # Closed first and then looked through, so that nothing is planted in between.
    $before = (Get-Security ([IO.DirectoryInfo]::new($Folder))).GetSecurityDescriptorSddlForm(
        [Security.AccessControl.AccessControlSections] 'Access, Owner')
    Set-FolderSecurity $Folder $FolderSddl
    $foreign = Get-ForeignChild $Folder
    if ($foreign) {
        Set-FolderSecurity $Folder $before
        throw "$foreign can be changed by more than SYSTEM and the Administrators, or was made by another: look at it, and remove it"
    }
}

function Assert-OwnFolder([string] $Path) {
    # Makes it where it is missing.
    $fault = Get-FolderFault $Path
    if ($fault) {
        throw $fault
    }
    if (-not [IO.Directory]::Exists($Path)) {
        New-ProtectedFolder $Path
        # Again, since another may have made it after the first look: then it is that one's.
        $fault = Get-FolderFault $Path
        if ($fault) {
            throw $fault
        }
    }
}

function Assert-Folder {
    # What lies in it is run as SYSTEM, so that a folder that a user may have made or may write into is not used.
    Protect-Folder
    Assert-OwnFolder $Folder
    Assert-OwnFolder ([IO.Path]::Combine($Folder, 'changes'))
}

# ---- files

function Get-FileText([string] $Path) {
    # The sha256, or '' where there is no file.
    if ([IO.Directory]::Exists($Path)) {
        throw "$Path is a folder and no file: read the host again"
    }
    try {
        return Get-Sha256 (Read-File $Path $FileLimit)
    }
    catch [IO.FileNotFoundException], [IO.DirectoryNotFoundException] {
        return ''
    }
}

function Write-NewFile([string] $Path, [byte[]] $Bytes, [string] $Sddl) {
    [IO.File]::Delete($Path)
    [IO.FileStream]::new($Path, [IO.FileMode]::CreateNew, [IO.FileAccess]::Write, [IO.FileShare]::None).Dispose()
    # Before there is anything in it that the other file's ACL keeps from users.
    if ($Sddl) {
        Set-Sddl $Path $Sddl
    }
    $stream = [IO.FileStream]::new($Path, [IO.FileMode]::Open, [IO.FileAccess]::Write, [IO.FileShare]::None)
    try {
        $stream.Write($Bytes, 0, $Bytes.Length)
        # To the disk, not to Windows' cache alone.
        $stream.Flush($true)
    }
    finally {
        $stream.Dispose()
    }
}

function Set-Attribute([string] $Path, [int] $Attributes) {
    $settable = $Attributes -band $AttributeMask
    if ($settable -eq 0) {
        $settable = [int] [IO.FileAttributes]::Normal
    }
    if ($settable -ne [int] [IO.File]::GetAttributes($Path)) {
        [IO.File]::SetAttributes($Path, [IO.FileAttributes] $settable)
    }
}

function Invoke-Patiently([scriptblock] $Block) {
    # A virus scanner or an indexer opens a new file for a moment.
    for ($try = 1; $true; $try++) {
        try {
            return & $Block
        }
        catch [IO.IOException], [UnauthorizedAccessException] {
            if ($try -eq 10) {
                throw
            }
        }
        Start-Sleep -Milliseconds 300
    }
}

function Set-FileContent([string] $Path, [byte[]] $Bytes, [string] $Expected, [string] $Sddl) {
    # Replaces a file whose sha256 is Expected, or makes one where that is ''.  At each moment there is the old file or the new.
    $new, $old = "$Path.portshift-new", "$Path.portshift-old"
    try {
        Write-NewFile -Path $new -Bytes $Bytes -Sddl $Sddl
        if (-not $Expected) {
            # Fails where there is one by now.
            [IO.File]::Move($new, $Path)
            return
        }
        # A file that is read-only cannot be replaced; the caller gives it its attributes again.
        Set-Attribute $Path ([int] [IO.File]::GetAttributes($Path) -band (-bnot 1))
        [IO.File]::Delete($old)
        # Keeps ACL, attributes and streams.  With a backup the name is never without a file for good; and a backup that is not
        # what was expected shows that the file was changed in the last moment, whose change is put back.
        Invoke-Patiently { [IO.File]::Replace($new, $Path, $old) }
        if ((Get-FileText $old) -cne $Expected) {
            [IO.File]::Replace($old, $Path, $new)
            throw "$Path was changed by another process at the same moment: read the host again"
        }
        Invoke-Patiently { [IO.File]::Delete($old) }
    }
    finally {
        [IO.File]::Delete($new)
    }
}

function Repair-CutReplace([string] $Path) {
    # Where Replace was cut between its two renames, the file is there under the name of the backup alone.
    $old = "$Path.portshift-old"
    if ([IO.File]::Exists($old) -and -not [IO.File]::Exists($Path)) {
        [IO.File]::Move($old, $Path)
    }
    foreach ($left in $old, "$Path.portshift-new") {
        if ([IO.File]::Exists($left)) {
            [IO.File]::Delete($left)
        }
    }
}

function Get-NewContent([object] $Step, [byte[]] $Bytes) {
    if ($null -ne $Step.content) {
        return , [Convert]::FromBase64String($Step.content)
    }
    $made = [IO.MemoryStream]::new()
    $at = 0
    foreach ($splice in @($Step.splices | Sort-Object -Property at)) {
        if ($splice.at -lt $at -or $splice.length -lt 0 -or $splice.at + $splice.length -gt $Bytes.Length) {
            throw "the splice at $($splice.at) of $($Step.path) overlaps another or the end of the file: this is a fault of the control node"
        }
        $made.Write($Bytes, $at, $splice.at - $at)
        $put = [Convert]::FromBase64String($splice.bytes)
        $made.Write($put, 0, $put.Length)
        $at = $splice.at + $splice.length
    }
    $made.Write($Bytes, $at, $Bytes.Length - $at)
    $result = $made.ToArray()
    if ((Get-Sha256 $result) -cne $Step.result) {
        throw "the splices of $($Step.path) do not make the file that was planned: this is a fault of the control node"
    }
    return , $result
}

# ---- the registry; a value as one text, TYPE:DATA, so that the same value is the same text

function Open-Key([string] $Key, [bool] $Writable) {
    # The 64-bit view in both kinds of process, so that WOW6432Node is a key like any other.
    $hive, $path = $Key -split '\\', 2
    $hives = @{ HKLM = [Microsoft.Win32.RegistryHive]::LocalMachine; HKU = [Microsoft.Win32.RegistryHive]::Users }
    if (-not $hives.ContainsKey($hive) -or -not $path) {
        throw "$Key is no key that is read here: it begins with HKLM\ or HKU\"
    }
    $base = [Microsoft.Win32.RegistryKey]::OpenBaseKey($hives[$hive], [Microsoft.Win32.RegistryView]::Registry64)
    try {
        $base.OpenSubKey($path, $Writable)
    }
    finally {
        $base.Dispose()
    }
}

function Get-WireData([object] $Key, [string] $Name) {
    # RegistryValue.data of protocol.py.
    $type = [string] $Key.GetValueKind($Name)
    $data = $Key.GetValue($Name, $null, [Microsoft.Win32.RegistryValueOptions]::DoNotExpandEnvironmentNames)
    switch ($type) {
        'String' { return [string] $data }
        'ExpandString' { return [string] $data }
        'MultiString' { return , [string[]] $data }
        # .NET's numbers have a sign, the registry's have none.
        'DWord' { return [BitConverter]::ToUInt32([BitConverter]::GetBytes([int] $data), 0) }
        'QWord' { return [BitConverter]::ToUInt64([BitConverter]::GetBytes([long] $data), 0) }
        default { return [Convert]::ToBase64String([byte[]] $data) }
    }
}

function ConvertTo-ValueText([object] $Type, [object] $Data) {
    # PowerShell 7 makes a date of JSON text that looks like one, and its text is then another.
    if (@($Data | Where-Object { $_ -is [DateTime] }).Count -gt 0) {
        throw 'a text of the request looks like a date, which this PowerShell does not hand over unchanged: set that value by hand'
    }
    if ($Type -eq 'MultiString') {
        # The dot tells an empty line from none.
        $Data = @(foreach ($line in $Data) { '.' + [Convert]::ToBase64String([Text.Encoding]::Unicode.GetBytes($line)) }) -join ','
    }
    "${Type}:$Data"
}

function Get-RegistryText([string] $Key, [string] $Name) {
    $opened = Open-Key $Key $false
    if ($null -eq $opened) {
        return ''
    }
    try {
        if ($opened.GetValueNames() -notcontains $Name) {
            return ''
        }
        return ConvertTo-ValueText ([string] $opened.GetValueKind($Name)) (Get-WireData $opened $Name)
    }
    finally {
        $opened.Dispose()
    }
}

function New-Key([string] $Key) {
    $parts = $Key -split '\\'
    for ($count = 2; $count -le $parts.Count; $count++) {
        $path = $parts[0..($count - 1)] -join '\'
        $opened = Open-Key $path $false
        if ($null -eq $opened) {
            $above = Open-Key ($parts[0..($count - 2)] -join '\') $true
            if ($null -eq $above) {
                throw "$path cannot be made, since there is nothing above it: read the host again"
            }
            $opened = $above.CreateSubKey($parts[$count - 1])
            $above.Dispose()
        }
        $opened.Dispose()
    }
}

function Get-MissingKey([string] $Key) {
    # The uppermost key that is not there, or ''.
    $parts = $Key -split '\\'
    for ($count = 2; $count -le $parts.Count; $count++) {
        $path = $parts[0..($count - 1)] -join '\'
        $opened = Open-Key $path $false
        if ($null -eq $opened) {
            return $path
        }
        $opened.Dispose()
    }
    return ''
}

function Remove-EmptyKey([string] $Key, [string] $Uppermost) {
    # Only empty ones: what another program put there since stays.
    while ($Uppermost -and $Key.Length -ge $Uppermost.Length) {
        $above, $leaf = ($Key -replace '\\[^\\]*$', ''), ($Key -replace '^.*\\', '')
        $opened = Open-Key $Key $false
        if ($null -ne $opened) {
            $holds = $opened.GetValueNames().Count + $opened.GetSubKeyNames().Count
            $opened.Dispose()
            if ($holds -gt 0) {
                return
            }
            $parent = Open-Key $above $true
            $parent.DeleteSubKey($leaf)
            $parent.Dispose()
        }
        $Key = $above
    }
}

function Set-RegistryText([string] $Key, [string] $Name, [string] $Text) {
    if (-not $Text) {
        $opened = Open-Key $Key $true
        if ($null -ne $opened) {
            $opened.DeleteValue($Name, $false)
            $opened.Flush()
            $opened.Dispose()
        }
        return
    }
    $type, $data = $Text -split ':', 2
    $kind = [Microsoft.Win32.RegistryValueKind] $type
    switch ($type) {
        'String' { $value = $data }
        'ExpandString' { $value = $data }
        'MultiString' {
            $lines = $data.Split([char[]] ',', [StringSplitOptions]::RemoveEmptyEntries)
            $value = [string[]] @(foreach ($line in $lines) { [Text.Encoding]::Unicode.GetString([Convert]::FromBase64String($line.Substring(1))) })
        }
        'DWord' { $value = [BitConverter]::ToInt32([BitConverter]::GetBytes([uint32] $data), 0) }
        'QWord' { $value = [BitConverter]::ToInt64([BitConverter]::GetBytes([uint64] $data), 0) }
        'Unknown' { throw "the value $Name of $Key is of a type that is not written here: set it by hand" }
        default { $value = [Convert]::FromBase64String($data) }
    }
    New-Key $Key
    $opened = Open-Key $Key $true
    try {
        $opened.SetValue($Name, $value, $kind)
        $opened.Flush()
    }
    finally {
        $opened.Dispose()
    }
}

# ---- services and processes

function Get-ProcessFact([long] $Id) {
    $facts = @{ name = $null; began = $null }
    try {
        $process = [Diagnostics.Process]::GetProcessById([int] $Id)
        $facts.name = $process.ProcessName
        # 5.1 does not tell it of a protected process.
        $facts.began = ConvertTo-Epoch $process.StartTime
    }
    catch {
        # It has ended, or is protected: what is not known stays $null.
        $null = $_
    }
    $facts
}

function Get-ServiceRow([string] $Filter) {
    Get-CimInstance -ClassName Win32_Service -Filter $Filter -OperationTimeoutSec 60
}

function Get-ServiceController([string] $Name) {
    Get-Service -Name ([Management.Automation.WildcardPattern]::Escape($Name))
}

function Get-ServiceFact([string] $Name) {
    # $null where there is no such service.  WMI's states are English on every host.
    $quoted = $Name.Replace('\', '\\').Replace("'", "\'")
    $row = Get-ServiceRow "Name='$quoted'"
    if ($null -eq $row) {
        return
    }
    $id = [long] $row.ProcessId
    $facts = @{
        row = $row
        state = $row.State.ToLowerInvariant().Replace(' ', '_')
        process = $null
        began = $null
    }
    if ($id -gt 0) {
        $facts.process = $id
        $facts.began = (Get-ProcessFact $id).began
    }
    $facts
}

function Get-KnownService([string] $Name) {
    $facts = Get-ServiceFact $Name
    if ($null -eq $facts) {
        throw "this host has no service ${Name}: read the host again"
    }
    $facts
}

function Read-Service([string] $Name) {
    $found = [ordered]@{
        name = $Name
        display_name = $Name
        exists = $false
        state = $null
        start_mode = $null
        process = $null
        began = $null
        path = $null
        needs = @()
        needed_by = @()
        exit_code = $null
    }
    $facts = Get-ServiceFact $Name
    if ($null -eq $facts) {
        return $found
    }
    $found.name = [string] $facts.row.Name
    $found.display_name = [string] $facts.row.DisplayName
    $found.exists = $true
    $found.state = $facts.state
    $found.start_mode = $facts.row.StartMode.ToLowerInvariant()
    if ($found.start_mode -eq 'auto' -and (Get-RegistryText "HKLM\SYSTEM\CurrentControlSet\Services\$Name" 'DelayedAutostart') -eq 'DWord:1') {
        $found.start_mode = 'delayed'
    }
    $found.process = $facts.process
    $found.began = $facts.began
    $found.path = [string] $facts.row.PathName
    $found.exit_code = [long] $facts.row.ExitCode
    $controller = Get-ServiceController $Name
    $found.needs = @($controller.ServicesDependedOn | Where-Object { $_ } | ForEach-Object { [string] $_.Name })
    $found.needed_by = @($controller.DependentServices | Where-Object { $_ } | ForEach-Object { [string] $_.Name })
    $found
}

function Test-Running([hashtable] $Facts) {
    ('stopped', 'stop_pending') -notcontains $Facts.state
}

function Assert-Unneeded([string] $Name, [object] $Stopped) {
    # The controller's Stop would stop these too, without a word.  Stopped are those that are stopped before.
    $dependent = (Get-ServiceController $Name).DependentServices
    if ($null -eq $dependent) {
        # A property that can't be read is nothing, not an error.
        throw "the services that need the service $Name cannot be read: look at them in services.msc"
    }
    $running = @($dependent | ForEach-Object {
            if ([string] $_.Status -ne 'Stopped' -and $Stopped -notcontains $_.Name) {
                $_.Name
            }
        })
    if ($running.Count -gt 0) {
        throw "the service $Name is needed by $($running -join ', '), which run: stop them first"
    }
}

function Stop-ServiceInTime([string] $Name, [double] $Seconds) {
    # Whether it had to be stopped.  Stop-Service waits without end for a service that hangs.
    $deadline = (Get-Uptime) + $Seconds
    $facts = Get-KnownService $Name
    if ($facts.state -eq 'stopped') {
        return $false
    }
    Assert-Unneeded $Name @()
    $controller = Get-ServiceController $Name
    $before = $facts
    $asked = $false
    $words = ''
    while ($facts.state -ne 'stopped') {
        # One that is starting takes no order yet.
        if (-not $asked -and $facts.state -notlike '*_pending') {
            try {
                $controller.Stop()
                $asked = $true
            }
            catch {
                $words = " ($(Get-Reason $_))"
            }
        }
        if ((Get-Uptime) -gt $deadline) {
            throw "the service $Name is in state $($facts.state) after $Seconds s${words}: look at its process $($facts.process), end it or restart the host"
        }
        Start-Sleep -Milliseconds 500
        $facts = Get-KnownService $Name
    }
    # Its process may hold files and ports for a while; one that other services share does not end.
    while ($before.process -and (Get-ProcessFact $before.process).began -eq $before.began -and $null -ne $before.began) {
        if ($null -ne (Get-ServiceRow "ProcessId=$($before.process)")) {
            break
        }
        if ((Get-Uptime) -gt $deadline) {
            throw "the service $Name is stopped, but its process $($before.process) still runs after $Seconds s: look at it, and end it"
        }
        Start-Sleep -Milliseconds 500
    }
    return $true
}

function Start-ServiceInTime([string] $Name, [double] $Seconds) {
    # Whether it had to be started.
    $deadline = (Get-Uptime) + $Seconds
    $facts = Get-KnownService $Name
    if ($facts.state -eq 'running') {
        return $false
    }
    $controller = Get-ServiceController $Name
    $asked = $false
    while ($facts.state -ne 'running') {
        if ($facts.state -eq 'stopped') {
            if ($asked) {
                throw "the service $Name ended as soon as it was started, with exit code $($facts.row.ExitCode): look into its log and the event log System"
            }
            # Once: with a wrong password each try counts towards the lock-out of its account.
            $asked = $true
            try {
                $controller.Start()
            }
            catch {
                $words = Get-Reason $_
                # At boot the service manager may have been quicker.
                if ((Get-KnownService $Name).state -eq 'stopped') {
                    throw "the service $Name, whose start mode is $($facts.row.StartMode), cannot be started: look into the event log System ($words)"
                }
            }
        }
        elseif ($facts.state -eq 'paused' -and -not $asked) {
            $controller.Continue()
            $asked = $true
        }
        if ((Get-Uptime) -gt $deadline) {
            throw "the service $Name is in state $($facts.state) after $Seconds s: look into its log and the event log System"
        }
        Start-Sleep -Milliseconds 500
        $facts = Get-KnownService $Name
    }
    return $true
}

# ---- the network

function Get-TcpTable {
    # The class behind Get-NetTCPConnection, whose module PowerShell 7 cannot load on every Windows.
    Get-CimInstance -Namespace root/StandardCimv2 -ClassName MSFT_NetTCPConnection -OperationTimeoutSec 60
}

function Get-UdpTable {
    Get-CimInstance -Namespace root/StandardCimv2 -ClassName MSFT_NetUDPEndpoint -OperationTimeoutSec 60
}

function Read-Endpoint([object] $Ports, [object] $RemotePorts) {
    # The lists of listeners and of connections; without RemotePorts no more than what listens on TCP.
    $listeners = [Collections.Generic.List[object]]::new()
    $connections = [Collections.Generic.List[object]]::new()
    $known = @{}
    foreach ($row in Get-TcpTable) {
        # Its numbers are those of .NET, and Bound besides.
        $state = [int] $row.State
        $listens = $state -eq 2 -and $Ports -contains $row.LocalPort
        $leads = $null -ne $RemotePorts -and (5, 3) -contains $state -and $connections.Count -lt $ConnectionLimit -and
            ($Ports -contains $row.LocalPort -or $RemotePorts -contains $row.RemotePort)
        if (-not $listens -and -not $leads) {
            continue
        }
        $process = [long] $row.OwningProcess
        if (-not $known.ContainsKey($process)) {
            $known[$process] = Get-ProcessFact $process
        }
        $facts = $known[$process]
        if ($listens) {
            $listeners.Add([ordered]@{ protocol = 'tcp'; address = [string] $row.LocalAddress; port = [int] $row.LocalPort
                    process = $process; name = $facts.name; began = $facts.began })
        }
        else {
            $connections.Add([ordered]@{ local_address = [string] $row.LocalAddress; local_port = [int] $row.LocalPort
                    remote_address = [string] $row.RemoteAddress; remote_port = [int] $row.RemotePort
                    state = [string] [Net.NetworkInformation.TcpState] $state
                    process = $process; name = $facts.name; began = $facts.began })
        }
    }
    if ($null -ne $RemotePorts) {
        foreach ($row in Get-UdpTable) {
            if ($Ports -contains $row.LocalPort) {
                $facts = Get-ProcessFact $row.OwningProcess
                $listeners.Add([ordered]@{ protocol = 'udp'; address = [string] $row.LocalAddress; port = [int] $row.LocalPort
                        process = [long] $row.OwningProcess; name = $facts.name; began = $facts.began })
            }
        }
    }
    @{ listeners = $listeners; connections = $connections }
}

function Resolve-Name([string] $Name, [double] $Seconds) {
    # Its addresses; none where there are none, or they do not come in time.
    try {
        $task = [Net.Dns]::GetHostAddressesAsync($Name)
        if ($task.Wait([int] ($Seconds * 1000))) {
            return $task.Result
        }
    }
    catch {
        # There is no such name.
        $null = $_
    }
}

function Test-Thumbprint([string] $Certificate, [string] $Thumbprint) {
    # Whether a certificate, in base64, has that SHA-1 or SHA-256, whichever is as long.
    $bytes = [Convert]::FromBase64String($Certificate)
    if ($Thumbprint.Length -ne 40) {
        return (Get-Sha256 $bytes) -eq $Thumbprint
    }
    $algorithm = [Security.Cryptography.SHA1]::Create()
    try {
        return [BitConverter]::ToString($algorithm.ComputeHash($bytes)).Replace('-', '') -eq $Thumbprint
    }
    finally {
        $algorithm.Dispose()
    }
}

function Read-Reply([object] $Probe, [Net.IPAddress] $Address, [double] $Seconds, [object] $Found) {
    $client = [Net.Sockets.TcpClient]::new($Address.AddressFamily)
    # Closes the connection when the time is over, whichever call waits then: a peer that sends a byte now and then cannot hold
    # the script up.  A method of .NET, since the timer's thread cannot run PowerShell.
    $timer = [Threading.CancellationTokenSource]::new([int] [Math]::Max(1, $Seconds * 1000))
    $registration = $timer.Token.Register([Delegate]::CreateDelegate([Action], $client, 'Close'))
    try {
        $client.Connect($Address, [int] $Probe.port)
        $Found.address = [string] $Address
        if ($Probe.kind -eq 'tcp') {
            $Found.ok = $true
            return
        }
        $stream = $client.GetStream()
        if ($Probe.kind -eq 'https') {
            $any = [Net.Security.RemoteCertificateValidationCallback] { $true }
            $stream = [Net.Security.SslStream]::new($stream, $false, $any)
            # By name: 5.1 would offer TLS 1.0 alone on some hosts.
            $stream.AuthenticateAsClient($Probe.host, $null, [Security.Authentication.SslProtocols] 'Tls, Tls11, Tls12', $false)
            $Found.certificate = [Convert]::ToBase64String($stream.RemoteCertificate.GetRawCertData())
        }
        $latin = [Text.Encoding]::GetEncoding(28591)
        $path = '/'
        if ($Probe.path) {
            $path = $Probe.path
        }
        $asked = $latin.GetBytes("GET $path HTTP/1.0`r`nHost: $($Probe.host):$($Probe.port)`r`nConnection: close`r`n`r`n")
        $stream.Write($asked, 0, $asked.Length)
        $limit = 65536
        if ($null -ne $Probe.limit) {
            $limit = [int] $Probe.limit
        }
        # The header is read too, and is not what is asked for.
        $buffer = [byte[]]::new($limit + 16384)
        $filled = 0
        do {
            try {
                $got = $stream.Read($buffer, $filled, $buffer.Length - $filled)
            }
            catch {
                # Some servers end the connection without saying so; what came before is the answer.
                if ($filled -eq 0 -or $timer.IsCancellationRequested) {
                    throw
                }
                $got = 0
            }
            $filled += $got
        } while ($got -gt 0 -and $filled -lt $buffer.Length)
        $text = $latin.GetString($buffer, 0, $filled)
        $line = [regex]::Match($text, '^HTTP/\d\.\d (\d{3})')
        if (-not $line.Success) {
            throw 'what answers does not speak HTTP'
        }
        $Found.status = [int] $line.Groups[1].Value
        $end = $text.IndexOf("`r`n`r`n", [StringComparison]::Ordinal)
        if ($end -lt 0) {
            $body = ''
        }
        else {
            $body = $text.Substring($end + 4)
        }
        $Found.body = [Convert]::ToBase64String($latin.GetBytes($body.Substring(0, [Math]::Min($limit, $body.Length))))
        $Found.ok = $true
    }
    catch {
        $cause = $_.Exception.GetBaseException()
        if ($timer.IsCancellationRequested) {
            throw 'timed out'
        }
        if ($cause -is [Net.Sockets.SocketException]) {
            if ($cause.SocketErrorCode -eq [Net.Sockets.SocketError]::ConnectionRefused) {
                throw 'refused'
            }
            if ($cause.SocketErrorCode -eq [Net.Sockets.SocketError]::TimedOut) {
                throw 'timed out'
            }
        }
        throw
    }
    finally {
        $registration.Dispose()
        $timer.Dispose()
        $client.Close()
    }
}

function Read-Probe([object] $Probe) {
    $found = [ordered]@{ name = $Probe.name; ok = $false; address = $null; status = $null; body = $null; certificate = $null; seconds = 0.0; problem = $null }
    $began = Get-Uptime
    $addresses = @(Resolve-Name $Probe.host $Probe.timeout)
    if ($addresses.Count -eq 0) {
        $found.problem = "this host finds no address of $($Probe.host)"
    }
    foreach ($address in $addresses) {
        try {
            Read-Reply -Probe $Probe -Address $address -Seconds ($began + $Probe.timeout - (Get-Uptime)) -Found $found
            $found.problem = $null
            break
        }
        catch {
            $found.address = $null
            $found.certificate = $null
            $found.problem = Get-Reason $_
        }
    }
    $found.seconds = [Math]::Round((Get-Uptime) - $began, 3)
    $found
}

# ---- netsh: its words are translated, so that of what it says only numbers and its exit code count

function Invoke-Netsh([string] $Arguments) {
    # In 5.1 a word on stderr would otherwise end the script.
    $ErrorActionPreference = 'Continue'
    $netsh = [IO.Path]::Combine([Environment]::SystemDirectory, 'netsh.exe')
    $words = $Arguments.Split(' ')
    $lines = @(& $netsh $words 2>&1)
    @{ code = $LASTEXITCODE; text = ($lines -join "`n") }
}

function Invoke-NetshChange([string] $Arguments) {
    $said = Invoke-Netsh $Arguments
    if ($said.code -ne 0) {
        throw "netsh $Arguments failed with exit code $($said.code): look who holds the port and try it by hand ($(($said.text -replace '\s+', ' ').Trim()))"
    }
}

function Read-PortRange([string] $What, [string] $Only) {
    # What is 'excluded' or 'dynamic'; Only is '', or such as 'ipv4/tcp'.
    $ranges = [Collections.Generic.List[object]]::new()
    foreach ($kind in 'ipv4/tcp', 'ipv4/udp', 'ipv6/tcp', 'ipv6/udp') {
        if ($Only -and $kind -ne $Only) {
            continue
        }
        $family, $protocol = $kind -split '/'
        if ($What -eq 'excluded') {
            $text = (Invoke-Netsh "interface $family show excludedportrange protocol=$protocol").text
            # A mark stands behind what an administrator has excluded: a program that asks for such a port gets it.  The others,
            # such as those of Hyper-V and WinNAT, are kept from every program but the one that they are for.
            foreach ($row in [regex]::Matches($text, '(?m)^[ \t]*(\d+)[ \t]+(\d+)[ \t]*([^\s\d]?)[ \t]*\r?$')) {
                $ranges.Add([ordered]@{ family = $family; protocol = $protocol; first = [int] $row.Groups[1].Value
                        last = [int] $row.Groups[2].Value; administered = $row.Groups[3].Length -gt 0 })
            }
        }
        else {
            # The first port, and how many there are, each at the end of its line; neither where that family is switched off.
            $text = (Invoke-Netsh "interface $family show dynamicport $protocol").text
            $numbers = @([regex]::Matches($text, '(?m)[^\d](\d+)[ \t]*\r?$') | ForEach-Object { [int] $_.Groups[1].Value })
            if ($numbers.Count -eq 2) {
                $ranges.Add([ordered]@{ family = $family; protocol = $protocol; first = $numbers[0]; last = $numbers[0] + $numbers[1] - 1 })
            }
        }
    }
    if ($What -eq 'dynamic' -and $ranges.Count -eq 0) {
        throw 'netsh does not tell the dynamic ports: try netsh interface ipv4 show dynamicport tcp by hand'
    }
    return , $ranges
}

function Read-PortProxy {
    # From the registry, where netsh keeps it in no language.
    $found = [Collections.Generic.List[object]]::new()
    foreach ($kind in 'v4tov4', 'v4tov6', 'v6tov4', 'v6tov6') {
        $key = Open-Key "HKLM\SYSTEM\CurrentControlSet\Services\PortProxy\$kind\tcp" $false
        if ($null -eq $key) {
            continue
        }
        foreach ($name in $key.GetValueNames()) {
            $to = [string] $key.GetValue($name)
            if ($name -match '^(.+)/(\d+)$') {
                $from = $Matches[1], [int] $Matches[2]
                if ($to -match '^(.+)/(\d+)$') {
                    $found.Add([ordered]@{ kind = $kind; listen_address = $from[0]; listen_port = $from[1]
                            connect_address = $Matches[1]; connect_port = [int] $Matches[2] })
                }
            }
        }
        $key.Dispose()
    }
    return , $found
}

function Get-PortProxyText([int] $Port) {
    # LISTEN-ADDRESS CONNECT-ADDRESS CONNECT-PORT of what listens on any address, or ''.
    foreach ($row in (Read-PortProxy)) {
        if ($row.kind -eq 'v4tov4' -and $row.listen_port -eq $Port -and ('*', '0.0.0.0') -contains $row.listen_address) {
            return "$($row.listen_address) $($row.connect_address) $($row.connect_port)"
        }
    }
    return ''
}

function Set-PortProxyText([int] $Port, [string] $Text) {
    $now = Get-PortProxyText $Port
    if ($now) {
        Invoke-NetshChange "interface portproxy delete v4tov4 listenport=$Port listenaddress=$(($now -split ' ')[0])"
        Wait-PortProxy $Port $false
    }
    if ($Text) {
        $listen, $connect, $to = $Text -split ' '
        Invoke-NetshChange "interface portproxy add v4tov4 listenport=$Port listenaddress=$listen connectport=$to connectaddress=$connect"
        Wait-PortProxy $Port $true
    }
}

function Wait-PortProxy([int] $Port, [bool] $Listens) {
    # netsh is content with a port that another process holds, and nothing is forwarded then; and IP Helper takes its time to let a port
    # go, which a product then cannot have.
    $deadline = (Get-Uptime) + 10
    while ($true) {
        $helper = Get-KnownService 'iphlpsvc'
        $rows = @((Read-Endpoint @($Port) $null).listeners | ForEach-Object { $_ })
        if ($helper.state -ne 'running' -or $Listens -eq (@($rows | Where-Object { $_.process -eq $helper.process }).Count -gt 0)) {
            return
        }
        if ((Get-Uptime) -gt $deadline) {
            $words = @($rows | ForEach-Object { "process $($_.process) ($($_.name))" }) -join ', '
            if (-not $words) {
                # An error of IP Helper itself is told nowhere.
                $words = 'no process'
                $kept = Get-KeptWords (Get-ExcludedRange "ipv4/tcp/$Port")
                if ($Listens -and $kept) {
                    $words = "no process; it lies in $kept"
                }
            }
            throw "the service iphlpsvc (IP Helper) was told to listen on port ${Port}: $Listens, and after 10 s the port is held by ${words}: " +
                'look at netsh interface portproxy show all'
        }
        Start-Sleep -Milliseconds 500
    }
}

function Get-ExcludedRange([string] $Target) {
    # The one that a port lies in, or nothing.
    $family, $protocol, $text = $Target -split '/'
    $port = [int] $text
    foreach ($range in (Read-PortRange 'excluded' "$family/$protocol")) {
        if ($range.first -le $port -and $range.last -ge $port) {
            return $range
        }
    }
}

function Get-RangeText([object] $Range) {
    # FIRST-LAST, or '' where there is none.
    if ($null -eq $Range) {
        return ''
    }
    return "$($Range.first)-$($Range.last)"
}

function Get-ExcludedText([string] $Target) {
    Get-RangeText (Get-ExcludedRange $Target)
}

function Get-KeptWords([object] $Range) {
    # For one in which Windows keeps the ports from every program; '' for another, or for none.
    if ($null -eq $Range -or $Range.administered) {
        return ''
    }
    return "the range $(Get-RangeText $Range), which Windows itself, such as for Hyper-V or WinNAT, keeps from every program"
}

function Set-ExcludedText([string] $Target, [string] $Text) {
    $family, $protocol, $port = $Target -split '/'
    $verb = 'delete'
    if ($Text) {
        $verb = 'add'
    }
    Invoke-NetshChange "interface $family $verb excludedportrange protocol=$protocol startport=$port numberofports=1 store=persistent"
}

# ---- reading

function New-Found {
    # Without a call of .NET, so that constrained language mode gets this far.
    @{
        now = 0
        uptime = 0
        utc_offset = 0
        computer = "$env:COMPUTERNAME"
        windows = ''
        powershell = "$($PSVersionTable.PSVersion)"
        language_mode = "$($ExecutionContext.SessionState.LanguageMode)"
        administrator = $false
        addresses = @()
        places = @{}
        files = @()
        folders = @()
        registry = @()
        services = @()
        listeners = @()
        connections = @()
        probes = @()
        names = @()
        netsh = $null
    }
}

function Test-Administrator {
    $user = [Security.Principal.WindowsPrincipal]::new([Security.Principal.WindowsIdentity]::GetCurrent())
    $user.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
}

function Get-NoAdministratorText {
    "the account that Ansible uses is no administrator of this host, or its login is a restricted one ($env:USERNAME): log in with one that is"
}

function Get-WindowsVersion {
    # Not .NET's, which tells some processes of an older Windows.
    $key = 'HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    $parts = foreach ($name in 'CurrentMajorVersionNumber', 'CurrentMinorVersionNumber', 'CurrentBuildNumber') {
        (Get-RegistryText $key $name) -replace '^\w+:', ''
    }
    $parts -join '.'
}

function Get-LocalAddress {
    $cards = [Net.NetworkInformation.NetworkInterface]::GetAllNetworkInterfaces()
    foreach ($card in @($cards | Where-Object { $_.OperationalStatus -eq 'Up' })) {
        foreach ($row in $card.GetIPProperties().UnicastAddresses) {
            if (-not [Net.IPAddress]::IsLoopback($row.Address)) {
                ([string] $row.Address) -replace '%.*$', ''
            }
        }
    }
}

function Read-Place([object] $Asked) {
    $places = @{}
    foreach ($place in $Asked) {
        $places[$place.name] = $place.otherwise
        foreach ($value in $place.values) {
            $type, $text = (Get-RegistryText $value.key $value.value) -split ':', 2
            if ($type -eq 'ExpandString') {
                $text = [Environment]::ExpandEnvironmentVariables($text)
            }
            if ($text -and ('String', 'ExpandString') -contains $type) {
                $places[$place.name] = $text.Trim().TrimEnd('\')
                break
            }
        }
    }
    $places
}

function Read-AskedFile([object] $Asked, [hashtable] $Places) {
    $found = [ordered]@{
        path = $Asked.path
        asked = $Asked.path
        exists = $false
        reparse = $false
        read_only = $false
        trusted = $false
        size = $null
        changed = $null
        sha256 = $null
        content = $null
        problem = $null
    }
    try {
        $path = Get-KnownPath $Asked.path $Places
        $found.path = $path
        $link = Get-Link $path
        $found.reparse = [bool] $link
        $info = [IO.FileInfo]::new($path)
        $found.exists = $info.Exists
        if ([IO.Directory]::Exists($path)) {
            $found.exists = $true
            throw "$path is a folder and no file: look what is right"
        }
        if (-not $info.Exists) {
            return $found
        }
        $found.read_only = $info.IsReadOnly
        $found.size = $info.Length
        $found.changed = ConvertTo-Epoch $info.LastWriteTimeUtc
        if ($link) {
            throw "$path is not read, since $link is a link or a mounted volume: name the folder that it leads to"
        }
        $found.trusted = Test-TrustedFile $path
        $bytes = Read-File $path $Asked.limit
        $found.size = $bytes.Length
        $found.sha256 = Get-Sha256 $bytes
        $found.content = [Convert]::ToBase64String($bytes)
    }
    catch {
        $found.problem = Get-Reason $_
    }
    $found
}

function Test-TrustedFile([string] $Path) {
    # Whether only SYSTEM and the Administrators can have written it; links were looked for already.
    if (-not (Test-OwnPath $Path)) {
        return $false
    }
    try {
        for ($part = [IO.Path]::GetDirectoryName($Path); $part.Length -ge $Folder.Length; $part = [IO.Path]::GetDirectoryName($part)) {
            if (Get-FolderFault $part) {
                return $false
            }
        }
        return (Get-SecurityFact ([IO.FileInfo]::new($Path))).safe
    }
    catch {
        # This account may not look at it.
        return $false
    }
}

function Get-FolderFile([string] $Path, [object] $Endings) {
    # The files that count, the one that was changed last first.
    $files = [Collections.Generic.List[object]]::new()
    $seen = 0
    foreach ($file in [IO.DirectoryInfo]::new($Path).EnumerateFiles()) {
        $seen++
        if ($seen -gt 10000) {
            throw "$Path holds more than 10000 files: move old ones away"
        }
        foreach ($ending in $Endings) {
            if ($file.Name.EndsWith($ending, [StringComparison]::OrdinalIgnoreCase) -and
                    -not ($file.Attributes -band [IO.FileAttributes]::ReparsePoint)) {
                # What the folder says of a file that is open is old.
                $file.Refresh()
                $files.Add($file)
                break
            }
        }
    }
    $sorted = @($files | Sort-Object -Descending -Property @('LastWriteTimeUtc', 'Name'))
    return , $sorted
}

function Read-Folder([object] $Asked, [hashtable] $Places) {
    $found = [ordered]@{ path = $Asked.path; asked = $Asked.path; exists = $false; files = @(); problem = $null }
    try {
        $path = Get-KnownPath $Asked.path $Places
        $found.path = $path
        $found.exists = [IO.Directory]::Exists($path)
        if (-not $found.exists) {
            return $found
        }
        $link = Get-Link $path
        if ($link) {
            throw "$path is not read, since $link is a link or a mounted volume: name the folder that it leads to"
        }
        $tails = [Collections.Generic.List[object]]::new()
        $found.files = $tails
        foreach ($file in @((Get-FolderFile $path $Asked.endings) | Select-Object -First $Asked.newest)) {
            $size = $file.Length
            $count = 0
            $bytes = [byte[]]::new(0)
            $problem = $null
            # Where names alone are asked for, a file that no other process may open is no trouble.
            if ($Asked.bytes -gt 0) {
                try {
                    $stream = Open-Shared $file.FullName
                    try {
                        $size = $stream.Length
                        $count = [Math]::Min([long] $size, [long] $Asked.bytes)
                        $bytes = Read-Part -Stream $stream -Offset ($size - $count) -Count $count
                    }
                    finally {
                        $stream.Dispose()
                    }
                }
                catch [IO.FileNotFoundException] {
                    # It was renamed or removed since it was listed.
                    continue
                }
                catch [IO.IOException], [UnauthorizedAccessException] {
                    # The others are read all the same.
                    $count = 0
                    $problem = Get-Reason $_
                }
            }
            $tails.Add([ordered]@{ name = $file.Name; size = $size; changed = (ConvertTo-Epoch $file.LastWriteTimeUtc)
                    offset = ($size - $count); content = [Convert]::ToBase64String($bytes); problem = $problem })
        }
    }
    catch {
        $found.problem = Get-Reason $_
    }
    $found
}

function Add-RegistryKey([string] $Key, [long] $Depth, [object] $Found, [hashtable] $Budget) {
    $opened = Open-Key $Key $false
    if ($null -eq $opened) {
        return
    }
    try {
        $values = [Collections.Generic.List[object]]::new()
        $Found.keys.Add([ordered]@{ key = $Key; values = $values })
        foreach ($name in $opened.GetValueNames()) {
            if ($Budget.left -le 0) {
                throw "$($Found.key) holds more values than the $($Budget.limit) that are read: look whether it is the right key"
            }
            $Budget.left--
            try {
                $value = [ordered]@{ name = $name; type = [string] $opened.GetValueKind($name); data = (Get-WireData $opened $name) }
            }
            catch {
                # Such as one whose data are not of its type: the others are read.
                $value = [ordered]@{ name = $name; type = 'Unknown'; data = '' }
            }
            $values.Add($value)
        }
        if ($Depth -gt 0) {
            $names = [string[]] $opened.GetSubKeyNames()
            [Array]::Sort($names, [StringComparer]::OrdinalIgnoreCase)
            foreach ($name in $names) {
                Add-RegistryKey -Key "$Key\$name" -Depth ($Depth - 1) -Found $Found -Budget $Budget
            }
        }
    }
    finally {
        $opened.Dispose()
    }
}

function Read-Registry([object] $Asked) {
    $found = [ordered]@{ key = $Asked.key; exists = $false; keys = [Collections.Generic.List[object]]::new(); problem = $null }
    try {
        Add-RegistryKey -Key $Asked.key -Depth $Asked.depth -Found $found -Budget @{ left = [long] $Asked.limit; limit = $Asked.limit }
    }
    catch {
        $found.problem = Get-Reason $_
    }
    $found.exists = $found.keys.Count -gt 0
    $found
}

function Get-UrlHost([object] $Asked, [object] $Files) {
    # Names in the URLs of files of which that is asked, so that looking them up costs no run of its own: the first few.
    $index = 0
    foreach ($one in $Asked) {
        $file = @($Files)[$index]
        $index++
        if ($one.hosts -and $file.content) {
            # In UTF-16 every other byte of such a name is none.
            $text = [Text.Encoding]::GetEncoding(28591).GetString([Convert]::FromBase64String($file.content)).Replace([string] [char] 0, '')
            [regex]::Matches($text, 'https?://(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)', 'IgnoreCase, CultureInvariant') |
                ForEach-Object { $_.Groups[1].Value.Trim([char[]] '[]') } | Select-Object -First 4
        }
    }
}

function Read-Netsh {
    $found = [ordered]@{ portproxy = @(); excluded = @(); dynamic = @(); problem = $null }
    try {
        $found.portproxy = Read-PortProxy
        $found.excluded = Read-PortRange 'excluded' ''
        $found.dynamic = Read-PortRange 'dynamic' ''
    }
    catch {
        $found.problem = Get-Reason $_
    }
    $found
}

function Read-Wanted([object] $Wanted) {
    $found = New-Found
    $found.now = ConvertTo-Epoch ([DateTime]::UtcNow)
    $found.uptime = [Math]::Round((Get-Uptime), 3)
    $found.utc_offset = [int] [TimeZoneInfo]::Local.GetUtcOffset([DateTime]::UtcNow).TotalSeconds
    $found.computer = [Environment]::MachineName
    $found.windows = Get-WindowsVersion
    $found.administrator = Test-Administrator
    $found.addresses = @(Get-LocalAddress)
    $places = Read-Place $Wanted.places
    $found.places = $places
    $found.files = @(foreach ($asked in $Wanted.files) { Read-AskedFile $asked $places })
    $found.folders = @(foreach ($asked in $Wanted.folders) { Read-Folder $asked $places })
    $found.registry = @(foreach ($asked in $Wanted.registry) { Read-Registry $asked })
    $found.services = @(foreach ($name in $Wanted.services) { Read-Service $name })
    if ($Wanted.ports -or $Wanted.remote_ports) {
        $ends = Read-Endpoint $Wanted.ports @($Wanted.remote_ports)
        $found.listeners = $ends.listeners
        $found.connections = $ends.connections
    }
    $names = [Collections.Generic.List[string]]::new()
    foreach ($name in @($Wanted.names) + @(Get-UrlHost $Wanted.files $found.files)) {
        if ($name -and $names -notcontains $name) {
            $names.Add($name)
        }
    }
    $found.names = @(foreach ($name in $names) {
            @{ name = $name; addresses = @(Resolve-Name $name 10 | ForEach-Object { ([string] $_) -replace '%.*$', '' }) }
        })
    $found.probes = @(foreach ($probe in $Wanted.probes) { Read-Probe $probe })
    if ($Wanted.netsh) {
        $found.netsh = Read-Netsh
    }
    $found
}

# ---- what a change keeps on the disk, in the folder CHANGES\ID: state.json, journal, the bytes of files, this script

function Get-ChangeFolder([string] $Id) {
    [IO.Path]::Combine($Folder, 'changes', $Id)
}

function ConvertTo-Utf8([string] $Text) {
    return , [Text.UTF8Encoding]::new($false).GetBytes($Text)
}

function Read-State([string] $Id) {
    # $null where there is none.  While it is replaced, it may be there under its other name alone.
    $fault = Get-FolderFault (Get-ChangeFolder $Id)
    if ($fault) {
        throw $fault
    }
    $path = [IO.Path]::Combine((Get-ChangeFolder $Id), 'state.json')
    foreach ($name in $path, "$path.portshift-old") {
        try {
            $text = [Text.Encoding]::UTF8.GetString((Read-File $name $FileLimit))
        }
        catch [IO.FileNotFoundException], [IO.DirectoryNotFoundException] {
            continue
        }
        catch {
            throw (Get-UnreadableText $name (Get-Reason $_))
        }
        $state = @{}
        try {
            foreach ($property in (ConvertFrom-Json -InputObject $text).PSObject.Properties) {
                $state[$property.Name] = $property.Value
            }
        }
        catch {
            throw (Get-UnreadableText $name (Get-Reason $_))
        }
        if (-not $state.state) {
            throw (Get-UnreadableText $name 'it names no state')
        }
        return $state
    }
}

function Get-UnreadableText([string] $Path, [string] $Reason) {
    "$Path, which tells whether a change of this host has ended, cannot be read ($Reason): see what holds it; or, when the host is as it is to be, " +
        "delete the folder $([IO.Path]::GetDirectoryName($Path))"
}

function ConvertTo-DoneText([object] $Done) {
    # A text in the state, since 5.1 does not write every list as one that it read before.
    ConvertTo-Json -InputObject @{ done = $Done } -Depth 6 -Compress
}

function Write-State([hashtable] $Change, [hashtable] $News) {
    # Whether a change is confirmed or undone is this one file, replaced as a whole.
    foreach ($name in @($News.Keys)) {
        $Change.State[$name] = $News[$name]
    }
    $path = [IO.Path]::Combine($Change.Folder, 'state.json')
    if ($News.state) {
        # It is no more at work, and may find no other room.
        [IO.File]::Delete([IO.Path]::Combine($Change.Folder, 'reserve'))
    }
    Repair-CutReplace $path
    Set-FileContent -Path $path -Bytes (ConvertTo-Utf8 (ConvertTo-Json -InputObject $Change.State -Compress)) -Expected (Get-FileText $path) -Sddl ''
}

function Add-Journal([hashtable] $Change, [hashtable] $Entry) {
    # Before what it tells of is done, and to the disk: whenever the power fails, what was done is known.
    $bytes = ConvertTo-Utf8 ((ConvertTo-Json -InputObject $Entry -Compress) + "`n")
    $path = [IO.Path]::Combine($Change.Folder, 'journal')
    $stream = [IO.FileStream]::new($path, [IO.FileMode]::Append, [IO.FileAccess]::Write, [IO.FileShare]::Read)
    try {
        $stream.Write($bytes, 0, $bytes.Length)
        $stream.Flush($true)
    }
    finally {
        $stream.Dispose()
    }
}

function Read-Journal([hashtable] $Change) {
    $path = [IO.Path]::Combine($Change.Folder, 'journal')
    if (-not [IO.File]::Exists($path)) {
        return
    }
    $lines = [Text.Encoding]::UTF8.GetString((Read-File $path $FileLimit)) -split "`n"
    # A line without its end was cut off, so that what it tells of was not begun.
    for ($at = 0; $at -lt $lines.Count - 1; $at++) {
        ConvertFrom-Json -InputObject $lines[$at]
    }
}

function Remove-ChangeFile([hashtable] $Change, [string] $Except) {
    # What an ended change needs no more; its state stays to answer a control node that missed the outcome.
    foreach ($path in [IO.Directory]::GetFiles($Change.Folder)) {
        $name = [IO.Path]::GetFileName($path)
        if ($name -notlike 'state.json*' -and $name -ne $Except) {
            [IO.File]::Delete($path)
        }
    }
}

function Get-ChangeId {
    # Nothing in the folder is touched before it is known for our own, each time anew: a read makes no folder, so that one of another
    # account may have come since the last look.
    $path = [IO.Path]::Combine($Folder, 'changes')
    foreach ($one in $Folder, $path) {
        $fault = Get-FolderFault $one
        if ($fault) {
            throw $fault
        }
    }
    if ([IO.Directory]::Exists($path)) {
        [IO.Directory]::GetDirectories($path) | ForEach-Object { [IO.Path]::GetFileName($_) } | Where-Object { $_ -cmatch '^[0-9a-f]{32}$' }
    }
}

function Open-Lock([double] $Seconds) {
    # Held by whatever works on a change, and gone with its process.  A file in the protected folder, since every user could
    # make a mutex of any name first.  $null where it is not free in time.
    $deadline = (Get-Uptime) + $Seconds
    $path = [IO.Path]::Combine($Folder, 'lock')
    while ($true) {
        try {
            return [IO.FileStream]::new($path, [IO.FileMode]::OpenOrCreate, [IO.FileAccess]::ReadWrite, [IO.FileShare]::None)
        }
        catch [IO.IOException] {
            if ((Get-Uptime) -ge $deadline) {
                return
            }
        }
        Start-Sleep -Milliseconds 500
    }
}

function Test-LockHeld {
    try {
        [IO.FileStream]::new([IO.Path]::Combine($Folder, 'lock'), [IO.FileMode]::Open, [IO.FileAccess]::Read, [IO.FileShare]::ReadWrite).Dispose()
    }
    catch [IO.FileNotFoundException], [IO.DirectoryNotFoundException] {
        return $false
    }
    catch [IO.IOException] {
        return $true
    }
    return $false
}

# ---- the scheduled task that undoes what was cut off

function Get-ScriptText {
    # The whole script that this block stands in, as it was sent or loaded.
    $text = { 0 }.Ast.Extent.StartScriptPosition.GetFullScript()
    if (-not $text.Contains('function Complete-Change(')) {
        throw 'the script does not find its own text, without which the host could not undo a change that is cut off: this is a fault of this collection'
    }
    $text
}

function Get-TaskName([string] $Id) {
    "portshift-undo-$Id"
}

function Get-TaskXml([string] $Id, [string] $Script) {
    # SYSTEM runs no file by name: an execution policy may forbid that, and the text could have been changed.  Its modules are those
    # of Windows.  Where a person has removed the change, its task goes too.
    $command = @'
$env:PSModulePath = "$PSHOME\Modules"
$ErrorActionPreference = 'Stop'
if (-not [IO.File]::Exists('PATH')) {
$scheduler = New-Object -ComObject Schedule.Service
$scheduler.Connect()
$scheduler.GetFolder('\').DeleteTask('TASK', 0)
exit 4
}
$bytes = [IO.File]::ReadAllBytes('PATH')
$sum = [BitConverter]::ToString([Security.Cryptography.SHA256]::Create().ComputeHash($bytes)).Replace('-', '')
if ($sum -ne 'SUM') { exit 3 }
. ([ScriptBlock]::Create([Text.Encoding]::UTF8.GetString($bytes)))
Complete-Change 'ID'
'@
    $sum = Get-Sha256 ([IO.File]::ReadAllBytes($Script))
    $command = $command.Replace('PATH', $Script).Replace('SUM', $sum).Replace('TASK', (Get-TaskName $Id)).Replace('ID', $Id)
    $encoded = [Convert]::ToBase64String([Text.Encoding]::Unicode.GetBytes($command))
    $program = [IO.Path]::Combine([Environment]::SystemDirectory, 'WindowsPowerShell\v1.0\powershell.exe')
    # Beside an instance that hangs the next one starts, and ends it; the lock keeps them apart.
    # No trigger has a date, so that setting the clock moves none.  Each minute from the first one on, and from a boot on, it looks
    # whether the process at work is gone; after a boot the service manager and the disks get a minute first.
    $trigger = '<Repetition><Interval>PT1M</Interval><StopAtDurationEnd>false</StopAtDurationEnd></Repetition>' +
        '<Enabled>true</Enabled><Delay>PT60S</Delay>'
    @"
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Description>Undoes a change of portshift.agents that was cut off</Description></RegistrationInfo>
  <Triggers>
    <RegistrationTrigger>$trigger</RegistrationTrigger>
    <BootTrigger>$trigger</BootTrigger>
  </Triggers>
  <Principals><Principal id="Author"><UserId>S-1-5-18</UserId><RunLevel>HighestAvailable</RunLevel></Principal></Principals>
  <Settings>
    <MultipleInstancesPolicy>Parallel</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <RunOnlyIfNetworkAvailable>false</RunOnlyIfNetworkAvailable>
    <Enabled>true</Enabled>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
  </Settings>
  <Actions Context="Author">
    <Exec><Command>$program</Command><Arguments>-NoProfile -NonInteractive -EncodedCommand $encoded</Arguments></Exec>
  </Actions>
</Task>
"@
}

function Get-TaskFolder {
    $service = New-Object -ComObject Schedule.Service
    $null = $service.Connect()
    $service.GetFolder('\')
}

function Register-UndoTask([string] $Id, [string] $Xml) {
    $name = Get-TaskName $Id
    $tasks = Get-TaskFolder
    # 2: only where there is no task of this name, which another account may have made; 5: an account of the system, which the
    # text names.
    $null = $tasks.RegisterTask($name, $Xml, 2, $null, $null, 5)
    Assert-UndoTask $Id
}

function Assert-UndoTask([string] $Id) {
    $name = Get-TaskName $Id
    $enabled = $false
    try {
        $enabled = (Get-TaskFolder).GetTask($name).Enabled
    }
    catch {
        # It is gone.
        $null = $_
    }
    if (-not $enabled) {
        throw "the scheduled task $name was removed or disabled as soon as it was made: allow it, since it undoes a change that is cut off"
    }
}

function Unregister-UndoTask([string] $Id) {
    $name = Get-TaskName $Id
    $tasks = Get-TaskFolder
    try {
        $null = $tasks.GetTask($name)
    }
    catch {
        # It is gone.
        return
    }
    $null = $tasks.DeleteTask($name, 0)
}

# ---- settings: what a step sets and an undo sets back.  Each is a kind, a target and a text, which is '' where it is not there.
# file: the sha256; registry: TYPE:DATA, of KEY and NAME in two lines; portproxy and exclude: as their functions say

function Get-Setting([string] $Kind, [string] $Target) {
    switch ($Kind) {
        'file' { return Get-FileText $Target }
        'registry' {
            $key, $name = $Target -split "`n", 2
            return Get-RegistryText $key $name
        }
        'portproxy' { return Get-PortProxyText ([int] $Target) }
        'exclude' { return Get-ExcludedText $Target }
    }
}

function Get-SettingName([string] $Kind, [string] $Target) {
    # For sentences, in which no data stands.
    $key, $name = $Target -split "`n", 2
    switch ($Kind) {
        'registry' { return "the value $name of $key" }
        'portproxy' { return "the forwarding of port $Target" }
        'exclude' { return "the excluded port $Target" }
    }
    return $Target
}

function Set-Setting([object] $Entry, [string] $Now, [string] $Text, [byte[]] $Bytes) {
    # From Now to Text; Bytes are the file's whose sha256 is Text.
    switch ($Entry.kind) {
        'file' {
            if ($Text) {
                Set-FileContent -Path $Entry.target -Bytes $Bytes -Expected $Now -Sddl $Entry.sddl
                if ($Entry.sddl) {
                    Set-Attribute $Entry.target $Entry.attributes
                }
            }
            else {
                # Renamed before it is looked at once more, so that no other process can change it in between.
                $old = "$($Entry.target).portshift-old"
                [IO.File]::Delete($old)
                [IO.File]::Move($Entry.target, $old)
                if ((Get-FileText $old) -cne $Now) {
                    [IO.File]::Move($old, $Entry.target)
                    throw "$($Entry.target) was changed by another process at the same moment: read the host again"
                }
                Set-Attribute $old 0
                [IO.File]::Delete($old)
            }
        }
        'registry' {
            $key, $name = $Entry.target -split "`n", 2
            Set-RegistryText -Key $key -Name $name -Text $Text
        }
        'portproxy' { Set-PortProxyText ([int] $Entry.target) $Text }
        'exclude' { Set-ExcludedText $Entry.target $Text }
    }
    if (-not (Test-Same (Get-Setting $Entry.kind $Entry.target) $Text)) {
        throw "$(Get-SettingName $Entry.kind $Entry.target) is not what it was set to a moment ago: look what else sets it"
    }
}

function Set-Journaled([hashtable] $Change, [hashtable] $Entry, [byte[]] $Bytes) {
    # Entry has kind, target, before and after.
    Add-Journal $Change $Entry
    Set-Setting -Entry $Entry -Now $Entry.before -Text $Entry.after -Bytes $Bytes
}

# ---- guards: what is looked at before the first step, and again by each

function Get-StepName([object] $Step) {
    $of = @($Step.path, $Step.service, $Step.key, $Step.listen_port, $Step.port) | Where-Object { $null -ne $_ } | Select-Object -First 1
    "$($Step.step) $of".Trim()
}

function Assert-Guard([string] $Kind, [string] $Target, [string] $Expected) {
    # Answers the text that holds.
    $now = Get-Setting $Kind $Target
    if (-not (Test-Same $now $Expected)) {
        $found = 'is another than the one that was read'
        if (-not $now) {
            $found = 'is not there any more'
        }
        elseif (-not $Expected) {
            $found = 'is there, and was not'
        }
        throw "$(Get-SettingName $Kind $Target) ${found}: read the host again, and see who changed it"
    }
    $now
}

function Get-ValueTextOf([object] $Value) {
    if ($null -eq $Value) {
        return ''
    }
    if (@('String', 'ExpandString', 'MultiString', 'DWord', 'QWord', 'Binary', 'None') -cnotcontains $Value.type) {
        throw "the type $($Value.type) of a registry value is not written here: set it by hand"
    }
    ConvertTo-ValueText $Value.type $Value.data
}

function Test-OwnPath([string] $Path) {
    $Path.StartsWith("$Folder\", [StringComparison]::OrdinalIgnoreCase)
}

function Read-Guarded([string] $Path, [object] $Expected) {
    # The bytes of a file that a step changes; none where there is to be no file.
    $null = Assert-Guard -Kind 'file' -Target $Path -Expected $Expected
    if (-not $Expected) {
        $above = [IO.Path]::GetDirectoryName($Path)
        if (-not [IO.Directory]::Exists($above) -and -not (Test-OwnPath $Path)) {
            throw "the folder $above is not there: read the host again"
        }
        return , [byte[]]::new(0)
    }
    return , (Read-File $Path $FileLimit)
}

function Assert-Condition([hashtable] $Change, [object] $Condition, [object] $Marked) {
    switch ($Condition.kind) {
        { $_ -eq 'either' -or $_ -eq 'all' } {
            foreach ($one in $Condition.of) {
                Assert-Condition -Change $Change -Condition $one -Marked $Marked
            }
        }
        'log' {
            $path = Resolve-StepPath $Change $Condition.folder
            if ($Marked -notcontains $path) {
                throw "no step before it marks $path, from where on a log's lines count: this is a fault of the control node"
            }
            foreach ($pattern in @($Condition.patterns) + @($Condition.unless)) {
                if ($null -ne $pattern) {
                    $null = New-Pattern $pattern
                }
            }
        }
        'service' { $null = Get-KnownService $Condition.service }
        'connection' { $null = Get-KnownService $Condition.service }
        'listens' {
            if ($Condition.service) {
                $null = Get-KnownService $Condition.service
            }
        }
        'probe' { }
        default { throw "there is no condition $($Condition.kind): this is a fault of the control node" }
    }
}

function Test-Guard([hashtable] $Change, [object] $Steps) {
    # Throws where a guard does not hold of what no step before it changes.
    $changed = @{}
    $marked = [Collections.Generic.List[object]]::new()
    $stopped = [Collections.Generic.List[object]]::new()
    $index = 0
    foreach ($step in $Steps) {
        try {
            switch ($step.step) {
                { $_ -eq 'write' -or $_ -eq 'remove' } {
                    $path = Resolve-StepPath $Change $step.path
                    if (-not $changed.ContainsKey($path)) {
                        $bytes = Read-Guarded $path $step.expected
                        if ($_ -eq 'write') {
                            $null = Get-NewContent $step $bytes
                        }
                    }
                    $changed[$path] = $true
                }
                'registry' {
                    $target = "$($step.key)`n$($step.name)"
                    $null = Get-ValueTextOf $step.wanted
                    if (-not $changed.ContainsKey($target)) {
                        $null = Assert-Guard -Kind 'registry' -Target $target -Expected (Get-ValueTextOf $step.expected)
                    }
                    $changed[$target] = $true
                }
                { $_ -eq 'stop' -or $_ -eq 'start' } { $null = Get-KnownService $step.service }
                'stop' {
                    Assert-Unneeded $step.service $stopped
                    $stopped.Add($step.service)
                }
                'mark' {
                    foreach ($path in $step.folders) {
                        $marked.Add((Resolve-StepPath $Change $path))
                    }
                }
                'wait' {
                    foreach ($condition in $step.until) {
                        Assert-Condition -Change $Change -Condition $condition -Marked $marked
                    }
                }
                { $_ -eq 'portproxy' -or $_ -eq 'exclude' } { }
                default { throw 'there is no such step: this is a fault of the control node' }
            }
        }
        catch {
            throw "step $index ($(Get-StepName $step)): $(Get-Reason $_)"
        }
        $index++
    }
}

# ---- waiting for the proof

function New-Pattern([string] $Pattern) {
    [Text.RegularExpressions.Regex]::new($Pattern, [Text.RegularExpressions.RegexOptions]::CultureInvariant, [TimeSpan]::FromSeconds(2))
}

function Add-Mark([hashtable] $Change, [string] $Path, [object] $Endings) {
    $marks = [Collections.Generic.List[object]]::new()
    if ([IO.Directory]::Exists($Path)) {
        foreach ($file in (Get-FolderFile $Path $Endings)) {
            $size = $file.Length
            try {
                $stream = Open-Shared $file.FullName
                $size = $stream.Length
                $stream.Dispose()
            }
            catch [IO.FileNotFoundException] {
                continue
            }
            catch [IO.IOException], [UnauthorizedAccessException] {
                # Another process has it for itself, such as a backup: what the folder says of it is good enough.
                $null = $_
            }
            $marks.Add(@{ path = $file.FullName; size = $size; made = $file.CreationTimeUtc.Ticks })
        }
    }
    $Change.Marks[$Path] = $marks
}

function Get-NewOffset([IO.FileInfo] $File, [object] $Files, [long] $Size, [object] $Marks) {
    # A log that is renamed keeps the moment at which it was made, by which its new name is told from a new file; but Windows gives a
    # new file of the old name the same moment for a while, and then the one with the new name is the old one.
    $same = @($Marks | Where-Object { $_.made -eq $File.CreationTimeUtc.Ticks -and $_.size -le $Size })
    $mark = @($same | Where-Object { $_.path -eq $File.FullName }) + $same | Select-Object -First 1
    if ($null -eq $mark) {
        return 0
    }
    $renamed = @($Files | Where-Object { $_.CreationTimeUtc.Ticks -eq $mark.made -and @($Marks | ForEach-Object { $_.path }) -notcontains $_.FullName })
    if ($mark.path -eq $File.FullName -and $renamed.Count -gt 0) {
        return 0
    }
    return $mark.size
}

function Read-NewLine([hashtable] $Change, [string] $Path, [object] $Endings) {
    # The lines since the mark, one by one, in the order of the files' last changes.  Where more was added than is read, a row without
    # a line tells how many bytes come before.
    if (-not [IO.Directory]::Exists($Path)) {
        return
    }
    $files = @(Get-FolderFile $Path $Endings | ForEach-Object { $_ })
    [Array]::Reverse($files)
    $latin = [Text.Encoding]::GetEncoding(28591)
    foreach ($file in $files) {
        try {
            $stream = Open-Shared $file.FullName
        }
        catch [IO.FileNotFoundException] {
            # It was renamed since it was listed, and what it says counts: all of it is looked at again.
            throw
        }
        catch [IO.IOException], [UnauthorizedAccessException] {
            $new = Get-NewOffset -File $file -Files $files -Size $file.Length -Marks $Change.Marks[$Path]
            if ($file.Length -le $new) {
                # Nothing was added that could be missed.
                continue
            }
            throw "$($file.FullName) cannot be read, and $($file.Length - $new) bytes were added to it: see which process holds it ($(Get-Reason $_))"
        }
        try {
            $size = $stream.Length
            $new = Get-NewOffset -File $file -Files $files -Size $size -Marks $Change.Marks[$Path]
            $from = [Math]::Max([long] $new, [long] ($size - $LogLimit))
            $bytes = Read-Part -Stream $stream -Offset $from -Count ($size - $from)
        }
        finally {
            $stream.Dispose()
        }
        $reader = [IO.StringReader]::new($latin.GetString($bytes))
        if ($from -gt $new) {
            # What comes first may be the rest of a line.
            $null = $reader.ReadLine()
            @{ file = $file.Name; line = ''; unread = $from - $new }
        }
        while ($null -ne ($line = $reader.ReadLine())) {
            if ($line) {
                @{ file = $file.Name; line = $line.Substring(0, [Math]::Min(4000, $line.Length)); unread = 0 }
            }
        }
    }
}

function Test-Condition([hashtable] $Change, [object] $Condition) {
    # holds, note: what was seen of it, process: which process it holds of.
    $seen = @{ holds = $false; note = ''; process = '' }
    $service = $null
    if ($Condition.service) {
        $service = Get-KnownService $Condition.service
        $seen.process = "$($service.process) $($service.began)"
    }
    switch ($Condition.kind) {
        'service' {
            $seen.holds = $service.state -eq $Condition.state
            $seen.note = "the service $($Condition.service) is in state $($service.state), process $($service.process)"
        }
        'listens' {
            $rows = @((Read-Endpoint @($Condition.port) $null).listeners | ForEach-Object { $_ })
            $mine = @($rows | Where-Object { $null -eq $service -or $_.process -eq $service.process })
            $seen.holds = $mine.Count -gt 0
            $seen.note = "port $($Condition.port) is not listened on"
            if ($rows.Count -gt 0) {
                $row = @($mine + $rows)[0]
                $seen.note = "process $($row.process) ($($row.name)) listens on port $($Condition.port)"
            }
        }
        'connection' {
            $hosts = @(Resolve-Name $Condition.host 5 | ForEach-Object { [string] $_ })
            $rows = @((Read-Endpoint @() @($Condition.port)).connections | Where-Object {
                    $_.process -eq $service.process -and $_.remote_port -eq $Condition.port -and
                    $hosts -contains ($_.remote_address -replace '^::ffff:', '') })
            $seen.holds = @($rows | Where-Object { $_.state -eq 'Established' }).Count -gt 0
            if ($Condition.absent) {
                $seen.holds = $rows.Count -eq 0
            }
            $states = @($rows | ForEach-Object { $_.state } | Sort-Object -Unique) -join ', '
            if (-not $states) {
                $states = 'none'
            }
            $seen.note = "connections of the service $($Condition.service) to $($Condition.host):$($Condition.port): $states"
        }
        'probe' {
            $probe = $Condition.probe
            $found = Read-Probe $probe
            $seen.holds = $found.ok -and ($probe.kind -eq 'tcp' -or $Condition.any_status -or $found.status -eq 200)
            $other = ''
            if ($seen.holds -and $Condition.thumbprint -and -not (Test-Thumbprint $found.certificate $Condition.thumbprint)) {
                $seen.holds = $false
                $other = " with another certificate than $($Condition.thumbprint)"
            }
            if ($seen.holds -and $Condition.contains) {
                $text = [Text.Encoding]::GetEncoding(28591).GetString([Convert]::FromBase64String([string] $found.body))
                $seen.holds = $text.Contains($Condition.contains)
            }
            $seen.note = "$($probe.kind) $($probe.host):$($probe.port) answers: $($found.ok) $($found.status) $($found.problem)".Trim() + $other
        }
        'log' {
            $path = Resolve-StepPath $Change $Condition.folder
            $patterns = @(foreach ($text in $Condition.patterns) { New-Pattern $text })
            $unless = @(foreach ($text in $Condition.unless) { New-Pattern $text })
            $unread = @{ words = '' }
            $seen.holds = [bool] $Condition.silence
            $seen.note = "no line in $path since the change began says it"
            # Handed on line by line: a log may have very many.
            Read-NewLine -Change $Change -Path $path -Endings $Condition.endings | ForEach-Object {
                $row = $_
                if ($row.unread) {
                    $unread.words += "; of what was added to $($row.file), the last $LogLimit bytes alone were read, and $($row.unread) before them not"
                }
                elseif (@($unless | Where-Object { $_.IsMatch($row.line) }).Count -gt 0) {
                    $seen.holds = $false
                    $seen.note = "$($row.file) takes it back: $($row.line.Trim())"
                }
                elseif (@($patterns | Where-Object { $_.IsMatch($row.line) }).Count -gt 0) {
                    $seen.holds = $true
                    $seen.note = "$($row.file): $($row.line.Trim())"
                }
            }
            $seen.note += $unread.words
        }
        'either' {
            $notes = @()
            foreach ($one in $Condition.of) {
                $found = Test-Condition $Change $one
                $notes += $found.note
                if ($found.holds) {
                    return $found
                }
            }
            $seen.note = $notes -join ', and '
        }
        'all' {
            $seen.holds = $true
            $notes = @()
            foreach ($one in $Condition.of) {
                $found = Test-Condition $Change $one
                $notes += $found.note
                $seen.process += "$($found.process),"
                $seen.holds = $seen.holds -and $found.holds
            }
            $seen.note = $notes -join ', and '
        }
    }
    $seen
}

function Test-Proof([hashtable] $Change, [object] $Conditions) {
    $all = @{ holds = $true; notes = @(); missing = @(); processes = '' }
    foreach ($condition in $Conditions) {
        try {
            $seen = Test-Condition $Change $condition
        }
        catch {
            # Such as a log that is renamed while it is read: looked at again.
            $seen = @{ holds = $false; note = (Get-Reason $_); process = '' }
        }
        $all.notes += $seen.note
        $all.processes += "$($seen.process);"
        if (-not $seen.holds) {
            $all.holds = $false
            $all.missing += $seen.note
        }
    }
    $all
}

function Wait-Proof([hashtable] $Change, [object] $Step) {
    # Answers what was seen.
    $deadline = (Get-Uptime) + $Step.seconds
    while ($true) {
        $seen = Test-Proof $Change $Step.until
        if ($seen.holds) {
            Start-Sleep -Milliseconds ([int] ($Step.settle * 1000))
            $again = Test-Proof $Change $Step.until
            if ($again.holds -and $again.processes -eq $seen.processes) {
                return , $again.notes
            }
            $seen = $again
            if ($again.holds) {
                $seen.missing = @('a service was started anew while it was waited for')
            }
        }
        if ((Get-Uptime) -gt $deadline) {
            $words = "after $($Step.seconds) s the proof is missing ($($seen.missing -join '; '))"
            if ($null -ne $Change.Up) {
                throw "${words}: look into the product's log on this host"
            }
            throw $words
        }
        Assert-Time $Change
        Start-Sleep -Seconds 2
    }
}

# ---- carrying out, and undoing

function Assert-Time([hashtable] $Change) {
    if ((Get-Uptime) -gt $Change.Deadline) {
        throw "the change is not done after the $($Change.Timeout) s that it may take: give it more time, or see what was slow"
    }
}

function Invoke-FileStep([hashtable] $Change, [object] $Step, [int] $Index, [object] $Notes) {
    # Whether there was anything to do.
    $path = Resolve-StepPath $Change $Step.path
    $before = Read-Guarded $path $Step.expected
    $after = ''
    $bytes = $null
    if ($Step.step -eq 'write') {
        $bytes = Get-NewContent $Step $before
        $after = Get-Sha256 $bytes
    }
    if ($after -ceq "$($Step.expected)") {
        return $false
    }
    $entry = @{ kind = 'file'; target = $path; before = "$($Step.expected)"; after = $after; sddl = ''; attributes = 0; backup = '' }
    if (Test-OwnPath $path) {
        $above = @()
        for ($part = [IO.Path]::GetDirectoryName($path); $part.Length -gt $Folder.Length; $part = [IO.Path]::GetDirectoryName($part)) {
            $above = @($part) + $above
        }
        foreach ($part in $above) {
            Assert-OwnFolder $part
        }
        $entry.sddl = $FileSddl
    }
    if ($Step.expected) {
        $entry.sddl = Get-Sddl $path
        $entry.attributes = [int] [IO.File]::GetAttributes($path)
        $entry.backup = "$Index.before"
        Write-NewFile -Path ([IO.Path]::Combine($Change.Folder, $entry.backup)) -Bytes $before -Sddl ''
    }
    Set-Journaled -Change $Change -Entry $entry -Bytes $bytes
    if ($after -and $Step.expected) {
        $owners = @($entry.sddl, (Get-Sddl $path)) | ForEach-Object { $_ -replace 'D:.*$', '' }
        if ($owners[0] -cne $owners[1]) {
            $Notes.Add("$path has the owner $($owners[1]) now instead of $($owners[0]), which this account may not set; its ACL is as it was")
        }
    }
    return $true
}

function Invoke-RegistryStep([hashtable] $Change, [object] $Step) {
    $target = "$($Step.key)`n$($Step.name)"
    $before = Assert-Guard -Kind 'registry' -Target $target -Expected (Get-ValueTextOf $Step.expected)
    $after = Get-ValueTextOf $Step.wanted
    if (Test-Same $after $before) {
        return $false
    }
    Set-Journaled $Change @{ kind = 'registry'; target = $target; before = $before; after = $after; made = (Get-MissingKey $Step.key) }
    if (-not $after) {
        Remove-EmptyKey $Step.key $Step.key
    }
    return $true
}

function Invoke-ServiceStep([hashtable] $Change, [object] $Step) {
    $was = 'stopped'
    if (Test-Running (Get-KnownService $Step.service)) {
        $was = 'running'
    }
    if ($Step.step -eq 'stop' -and $was -eq 'running') {
        # Before it is noted: one that was never told to stop is left alone by an undo, too.
        Assert-Unneeded $Step.service @()
        if ($null -eq $Change.Down) {
            Assert-UndoTask $Change.Id
        }
    }
    Add-Journal $Change @{ kind = 'service'; target = $Step.service; was = $was; seconds = $Step.seconds }
    if ($Step.step -eq 'stop') {
        if ($null -eq $Change.Down -and $was -eq 'running') {
            $Change.Down = Get-Uptime
        }
        return Stop-ServiceInTime $Step.service $Step.seconds
    }
    $changed = Start-ServiceInTime $Step.service $Step.seconds
    $Change.Up = Get-Uptime
    return $changed
}

function Invoke-PortProxyStep([hashtable] $Change, [object] $Step) {
    $port = [int] $Step.listen_port
    $now = Get-PortProxyText $port
    $to = "127.0.0.1 $($Step.connect_port)"
    $ours = $now.EndsWith(" $to", [StringComparison]::Ordinal)
    if ($now -and -not $ours) {
        throw "port $port is forwarded to $(($now -split ' ', 2)[1]) already: see who needs that (netsh interface portproxy show all)"
    }
    if ([bool] $now -eq [bool] $Step.present) {
        return $false
    }
    $after = ''
    if ($Step.present) {
        if ((Get-KnownService 'iphlpsvc').state -ne 'running') {
            throw "the service iphlpsvc (IP Helper), which forwards ports, does not run: start it, and set it to start by itself"
        }
        $held = Test-Condition $Change @{ kind = 'listens'; port = $port }
        if ($held.holds) {
            throw "port $port cannot be forwarded, since $($held.note): stop what listens first"
        }
        $after = "0.0.0.0 $to"
    }
    Set-Journaled $Change @{ kind = 'portproxy'; target = "$port"; before = $now; after = $after }
    return $true
}

function Invoke-ExcludeStep([hashtable] $Change, [object] $Step, [object] $Notes) {
    $changed = $false
    $one = "$($Step.port)-$($Step.port)"
    foreach ($kind in $Step.kinds) {
        $target = "$kind/$($Step.port)"
        $range = Get-ExcludedRange $target
        $now = Get-RangeText $range
        $kept = Get-KeptWords $range
        if ($Step.present -and -not $now) {
            try {
                Set-Journaled $Change @{ kind = 'exclude'; target = $target; before = ''; after = $one }
                $changed = $true
            }
            catch {
                if ($Step.must) {
                    throw
                }
                $Notes.Add("$target is not excluded: $(Get-Reason $_)")
            }
        }
        elseif ($Step.present -and $kept) {
            if ($Step.must) {
                throw "$target cannot be excluded, since it lies in ${kept}: choose another port"
            }
            $Notes.Add("$target is not excluded, since it lies in $kept")
        }
        elseif (-not $Step.present -and $now -eq $one -and -not $kept) {
            Set-Journaled $Change @{ kind = 'exclude'; target = $target; before = $now; after = '' }
            $changed = $true
        }
        elseif (-not $Step.present -and $now) {
            $Notes.Add("$target stays excluded, since it lies in the range $now")
        }
    }
    return $changed
}

function Invoke-Step([hashtable] $Change, [object] $Step, [int] $Index) {
    $began = Get-Uptime
    $notes = [Collections.Generic.List[object]]::new()
    $changed = $false
    switch ($Step.step) {
        { $_ -eq 'write' -or $_ -eq 'remove' } { $changed = Invoke-FileStep -Change $Change -Step $Step -Index $Index -Notes $notes }
        'registry' { $changed = Invoke-RegistryStep $Change $Step }
        { $_ -eq 'stop' -or $_ -eq 'start' } { $changed = Invoke-ServiceStep $Change $Step }
        'portproxy' { $changed = Invoke-PortProxyStep $Change $Step }
        'exclude' { $changed = Invoke-ExcludeStep -Change $Change -Step $Step -Notes $notes }
        'mark' {
            foreach ($path in $Step.folders) {
                Add-Mark -Change $Change -Path (Resolve-StepPath $Change $path) -Endings $Step.endings
            }
        }
        'wait' {
            foreach ($note in (Wait-Proof $Change $Step)) {
                $notes.Add($note)
            }
        }
    }
    [ordered]@{ index = $Index; step = $Step.step; changed = $changed; seconds = [Math]::Round((Get-Uptime) - $began, 3); notes = $notes }
}

function Undo-Setting([hashtable] $Change, [object] $First, [object] $Known) {
    # First is the journal's first entry of a setting, Known what the change may have left it at.  Answers what a person has to do;
    # what may go well another time is thrown.
    $bytes = $null
    if ($First.kind -eq 'file') {
        $link = Get-Link $First.target
        if ($link) {
            return "$link is a link now, and behind one nothing is changed: see who made it, and put $($First.target) back by hand"
        }
        Repair-CutReplace $First.target
    }
    $now = Get-Setting $First.kind $First.target
    if (-not (Test-Same $now $First.before)) {
        if (@($Known | Where-Object { Test-Same $_ $now }).Count -eq 0) {
            return "$(Get-SettingName $First.kind $First.target) was changed by something else since, and is left as it is: put it right by hand"
        }
        if ($First.backup) {
            $bytes = Read-File ([IO.Path]::Combine($Change.Folder, $First.backup)) $FileLimit
            if ((Get-Sha256 $bytes) -cne $First.before) {
                return "the copy $($First.backup) in $($Change.Folder) is not what $($First.target) was: put the file back by hand"
            }
        }
        Set-Setting -Entry $First -Now $now -Text $First.before -Bytes $bytes
    }
    elseif ($First.kind -eq 'file' -and $First.before) {
        Set-Attribute $First.target $First.attributes
    }
    if ($First.kind -eq 'registry' -and $First.made) {
        $key = ($First.target -split "`n", 2)[0]
        Remove-EmptyKey $key $First.made
    }
}

function Test-Open([object] $First) {
    # Whether a setting is not as it was before; one that cannot be looked at counts.
    try {
        return -not (Test-Same (Get-Setting $First.kind $First.target) $First.before)
    }
    catch {
        return $true
    }
}

function Test-Pause([object] $State) {
    # Whether it is too early to stop services once more for what could not be set back.  After a boot it is not: that clock is new.
    $null -ne $State.tried -and (Get-Uptime) -ge [double] $State.tried -and (Get-Uptime) -lt [double] $State.tried + [double] $State.pause
}

function Undo-Change([hashtable] $Change, [string] $Cause, [bool] $Patient) {
    # Services that this change touches stop first, so that none works with half of it; then everything else is set back, the last
    # first; then what ran before runs again, whatever else failed.  It can be cut off and begun again at any point, and is begun again
    # by the task until all is as before, or a person is needed.  Where something cannot be set back, such as a file that another
    # process holds, Patient lets the services run and leaves it alone for a time, which grows.
    $started = Get-Uptime
    $waits = $Patient -and (Test-Pause $Change.State)
    if (-not $waits) {
        try {
            Write-State $Change @{ state = 'undoing'; cause = $Cause; sentence = $Cause; process = $PID; process_began = (Get-ProcessFact $PID).began
                until = ($started + $Patience) }
        }
        catch {
            # Such as on a full disk: the journal says what there is to do.
            $null = $_
        }
    }
    $again = @()
    $left = @()
    $services = [ordered]@{}
    $groups = [ordered]@{}
    foreach ($entry in @(Read-Journal $Change)) {
        if ($entry.kind -eq 'service') {
            if (-not $services.Contains($entry.target)) {
                $services[$entry.target] = $entry
            }
            continue
        }
        $name = "$($entry.kind) $($entry.target)"
        if (-not $groups.Contains($name)) {
            $groups[$name] = @{ first = $entry; known = [Collections.Generic.List[object]]::new() }
        }
        $groups[$name].known.Add($entry.before)
        $groups[$name].known.Add($entry.after)
    }
    $ran = @($services.Values | Where-Object { $_.was -eq 'running' })
    $lay = @($services.Values | Where-Object { $_.was -ne 'running' })
    [Array]::Reverse($lay)
    # One that ran need not stop where all is as it was, so that a try once more stops nothing that runs.
    $stops = @($lay)
    $isOpen = @($groups.Values | Where-Object { Test-Open $_.first }).Count -gt 0
    if ($isOpen -and $waits) {
        [Array]::Reverse($ran)
        foreach ($service in $ran) {
            try {
                $null = Start-ServiceInTime $service.target $service.seconds
            }
            catch {
                # What holds it is told when all is tried again.
                $null = $_
            }
        }
        return
    }
    if ($isOpen) {
        $stops = @($lay + $ran)
    }
    foreach ($service in $stops) {
        try {
            $null = Stop-ServiceInTime $service.target $service.seconds
        }
        catch {
            $again += Get-Reason $_
        }
    }
    $last = @($groups.Values)
    [Array]::Reverse($last)
    foreach ($group in $last) {
        try {
            $left += @(Undo-Setting -Change $Change -First $group.first -Known $group.known | Where-Object { $_ })
        }
        catch {
            $again += Get-Reason $_
        }
    }
    [Array]::Reverse($ran)
    foreach ($service in $ran) {
        try {
            if ($isOpen) {
                # One that was started meanwhile, such as by the boot, has read what was not set back yet.
                $null = Stop-ServiceInTime $service.target $service.seconds
            }
        }
        catch {
            $again += Get-Reason $_
        }
        try {
            $null = Start-ServiceInTime $service.target $service.seconds
        }
        catch {
            $again += Get-Reason $_
        }
    }
    $Change.Up = Get-Uptime
    $state = 'undone'
    $sentence = $Cause
    if ($again.Count + $left.Count -gt 0) {
        $state = 'trouble'
        $words = @($again + $left | Select-Object -Unique) -join '; '
        $sentence = "$Cause; and it could not all be undone: $words; what the files were is in $($Change.Folder)"
    }
    $pause = 0
    if ($again.Count -gt 0 -and $left.Count -eq 0) {
        # Where a person is needed anyway, that person's change is not kept waiting for what may never come.
        $state = 'undoing'
        if (@($groups.Values | Where-Object { Test-Open $_.first }).Count -gt 0) {
            $pause = [Math]::Min($LongestPause, $FirstPause + 2 * [double] $Change.State.pause)
            $sentence = "$sentence; its services are started all the same, and this host tries again when $pause s have passed"
        }
        else {
            $sentence = "$sentence; this host tries again each minute"
        }
    }
    Write-State $Change @{ state = $state; sentence = $sentence; seconds = (Get-Downtime $Change); ended = (ConvertTo-Epoch ([DateTime]::UtcNow))
        tried = (Get-Uptime); pause = $pause
        # One that has touched nothing, such as one whose first wait failed, is none to be told of.
        settled = ($groups.Count + $services.Count -eq 0) }
}

function Get-Downtime([hashtable] $Change) {
    if ($null -eq $Change.Down -or $null -eq $Change.Up) {
        return 0
    }
    [Math]::Round($Change.Up - $Change.Down, 3)
}

function Open-Change([string] $Id, [object] $State) {
    @{ Id = $Id; Folder = (Get-ChangeFolder $Id); State = $State; Places = @{}; Marks = @{}; Down = $null; Up = $null; Timeout = 0; Deadline = 0 }
}

function Close-Change([hashtable] $Change) {
    # The task, and the script that it runs, last, so that they do the rest where this is cut off.
    if ($Change.State.state -eq 'undoing') {
        return
    }
    if ($Change.State.state -ne 'trouble') {
        Remove-ChangeFile $Change 'host.ps1'
    }
    Unregister-UndoTask $Change.Id
    if ($Change.State.state -ne 'trouble') {
        Remove-ChangeFile $Change ''
    }
}

function Resume-Change([string] $Id, [bool] $Patient) {
    # Ends what another process left, with the lock held.  Answers the change, or nothing where none of this id was begun.
    $state = Read-State $Id
    if ($null -eq $state) {
        Unregister-UndoTask $Id
        return
    }
    $change = Open-Change $Id $state
    if (('applying', 'undoing') -contains $state.state) {
        $cause = $state.cause
        if (-not $cause) {
            $cause = 'the change was cut off, or not done in its time, and this host has undone it by itself'
        }
        Undo-Change -Change $change -Cause $cause -Patient $Patient
    }
    Close-Change $change
    $change
}

function Complete-Change([string] $Id) {
    # What the scheduled task runs each minute.
    $ErrorActionPreference = 'Stop'
    Assert-Folder
    $lock = Open-Lock 2
    if ($null -eq $lock) {
        $state = Read-State $Id
        if ($null -eq $state -or (Get-Uptime) -lt $state.until) {
            return
        }
        # Hung: the lock goes with its process.
        $began = (Get-ProcessFact $state.process).began
        if ($null -ne $began -and [Math]::Abs($began - [double] $state.process_began) -lt 0.01) {
            Stop-Process -Id $state.process -Force
        }
        $lock = Open-Lock 30
    }
    if ($null -eq $lock) {
        throw "another process holds $Folder\lock: it is undone when that has ended"
    }
    try {
        $null = Resume-Change $Id $true
    }
    finally {
        $lock.Dispose()
    }
}

# ---- what is asked, and the answer

function Test-Recent([object] $Moment) {
    # Either way, since the clock may have been set.
    $null -ne $Moment -and [Math]::Abs((ConvertTo-Epoch ([DateTime]::UtcNow)) - [double] $Moment) -lt $Day
}

function Read-Unfinished([string] $Except) {
    # rows, and faults: sentences on what is not believed.  Nothing is written.
    $found = @{ rows = [Collections.Generic.List[object]]::new(); faults = @() }
    try {
        foreach ($id in @(Get-ChangeId)) {
            try {
                $state = Read-State $id
            }
            catch {
                # The others are told all the same.
                $found.faults += "a change of this host is not told: $(Get-Reason $_)"
                continue
            }
            $isOpen = $null -ne $state -and ('applying', 'undoing') -contains $state.state
            if ($null -eq $state -or $id -eq $Except -or $state.state -eq 'applied' -or $state.settled -or
                    ($state.state -eq 'undone' -and -not (Test-Recent $state.ended))) {
                continue
            }
            $sentence = $state.sentence
            if (-not $sentence) {
                $sentence = "a change of this host is $($state.state)"
            }
            $found.rows.Add([ordered]@{ id = $id; state = $state.state; began = $state.began; sentence = $sentence
                    running = ($isOpen -and (Test-LockHeld)); timeout = [double] $state.timeout })
        }
    }
    catch {
        $found.faults += "changes of this host are not told: $(Get-Reason $_)"
    }
    $found
}

function Remove-OldChange {
    foreach ($id in @(Get-ChangeId)) {
        try {
            $state = Read-State $id
            $isOver = $null -eq $state -or $state.settled -or ('applied', 'undone') -contains $state.state
            if ($isOver -and -not (Test-Recent $state.ended)) {
                Unregister-UndoTask $id
                [IO.Directory]::Delete((Get-ChangeFolder $id), $true)
            }
        }
        catch {
            # It goes another time, and keeps no change waiting that has nothing to do with it.
            $null = $_
        }
    }
}

function Set-Settled([string] $Own, [object] $Ids) {
    # What a change that was applied puts an end to.
    foreach ($id in @(Get-ChangeId)) {
        $state = Read-State $id
        if ($null -eq $state -or $id -eq $Own -or $state.settled -or
                -not ($state.state -eq 'undone' -or ($state.state -eq 'trouble' -and $Ids -contains $id))) {
            continue
        }
        $change = Open-Change $id $state
        Write-State $change @{ settled = $true; ended = (ConvertTo-Epoch ([DateTime]::UtcNow)) }
        Remove-ChangeFile $change ''
    }
}

function Set-Outcome([hashtable] $Answer, [hashtable] $Change) {
    $state = $Change.State
    $Answer.outcome = $state.state
    if ($state.state -eq 'undoing') {
        # What more there is to it is in the sentence.
        $Answer.outcome = 'trouble'
    }
    $Answer.ok = $state.state -eq 'applied'
    $Answer.sentence = $state.sentence
    $Answer.failed_step = $state.failed_step
    $Answer.done = @((ConvertFrom-Json -InputObject $state.done).done)
    $Answer.seconds = $state.seconds
}

function Start-Change([hashtable] $Change, [object] $Asked) {
    # What must be on the disk before the first step: the state, this script, and the task that undoes.
    Assert-OwnFolder $Change.Folder
    try {
        $copy = [IO.Path]::Combine($Change.Folder, 'host.ps1')
        Write-NewFile -Path $copy -Bytes (ConvertTo-Utf8 (Get-ScriptText)) -Sddl ''
        Write-NewFile -Path ([IO.Path]::Combine($Change.Folder, 'reserve')) -Bytes ([byte[]]::new($ReserveBytes)) -Sddl ''
        Write-State $Change @{}
        Register-UndoTask $Asked.id (Get-TaskXml -Id $Asked.id -Script $copy)
    }
    catch {
        $words = Get-Reason $_
        try {
            Unregister-UndoTask $Asked.id
        }
        catch {
            # The scheduler is what failed.
            $null = $_
        }
        [IO.Directory]::Delete($Change.Folder, $true)
        throw "this host cannot note the change, or make the task that undoes it if it is cut off, without which nothing is changed: $words"
    }
}

function Invoke-StepList([hashtable] $Change, [object] $Asked) {
    $done = [Collections.Generic.List[object]]::new()
    $steps = @($Asked.steps)
    $index = 0
    try {
        foreach ($step in $steps) {
            Assert-Time $Change
            $done.Add((Invoke-Step -Change $Change -Step $step -Index $index))
            $index++
        }
        Assert-Time $Change
        # From here on it is confirmed, whatever happens to this process.
        Write-State $Change @{ state = 'applied'; done = (ConvertTo-DoneText $done); seconds = (Get-Downtime $Change)
            ended = (ConvertTo-Epoch ([DateTime]::UtcNow)) }
    }
    catch {
        $sentence = "after the last step: $(Get-Reason $_)"
        if ($index -lt $steps.Count) {
            $Change.State.failed_step = $index
            $sentence = "step $index ($(Get-StepName $steps[$index])) failed: $(Get-Reason $_)"
        }
        $Change.State.done = ConvertTo-DoneText $done
        try {
            Undo-Change -Change $Change -Cause $sentence -Patient $false
        }
        catch {
            throw "$sentence; and undoing it failed, which the scheduled task $(Get-TaskName $Change.Id) tries again: $(Get-Reason $_)"
        }
    }
}

function Invoke-Apply([object] $Asked, [hashtable] $Answer, [bool] $CheckMode) {
    # What is thrown from here is a refusal.
    if ($Asked.id -cnotmatch '^[0-9a-f]{32}$' -or -not ($Asked.timeout -gt 0)) {
        throw 'the request names no id or no timeout: this is a fault of the control node'
    }
    if (-not (Test-Administrator)) {
        throw (Get-NoAdministratorText)
    }
    $change = Open-Change $Asked.id $null
    $change.Places = Read-Place $Asked.wanted.places
    if ($CheckMode) {
        Test-Guard $change $Asked.steps
        return
    }
    Assert-Folder
    $lock = Open-Lock 5
    if ($null -eq $lock) {
        throw 'another change of this host is under way: wait until it has ended, and read the host again'
    }
    try {
        $earlier = Read-State $Asked.id
        if ($null -ne $earlier) {
            # Should ending it fail, the host is not as it was before.
            $Answer.outcome = 'trouble'
            $Answer.ok = $false
            Set-Outcome $Answer (Resume-Change $Asked.id $false)
            return
        }
        foreach ($id in @(Get-ChangeId)) {
            $state = Read-State $id
            if ($null -ne $state -and ('applying', 'undoing') -contains $state.state) {
                $ended = Resume-Change $id $false
                if ($ended.State.state -eq 'undoing') {
                    throw "an earlier change of this host is not undone yet ($($ended.State.sentence)): mend what this names and ask again, or, " +
                        "when the host is as it is to be, delete $(Get-ChangeFolder $id)"
                }
                throw "an earlier change of this host had been cut off and was undone just now ($($ended.State.sentence)): read the host again"
            }
        }
        # Without steps there is nothing to do but the folder, which is our own by now.
        if (@($Asked.steps | Where-Object { $_ }).Count -eq 0) {
            $Answer.outcome = 'applied'
            $Answer.ok = $true
            return
        }
        Test-Guard $change $Asked.steps
        Remove-OldChange
        $me = Get-ProcessFact $PID
        $change.Timeout = $Asked.timeout
        $change.Deadline = (Get-Uptime) + $Asked.timeout
        $change.State = @{
            id = $Asked.id
            state = 'applying'
            began = (ConvertTo-Epoch ([DateTime]::UtcNow))
            sentence = $null
            failed_step = $null
            cause = $null
            done = (ConvertTo-DoneText @())
            seconds = 0
            timeout = $Asked.timeout
            until = ($change.Deadline + $Patience)
            ended = $null
            settled = $false
            tried = $null
            pause = 0
            process = $PID
            process_began = $me.began
        }
        Start-Change -Change $change -Asked $Asked
        # Where even the undoing fails, such as on a full disk; the task is there.
        $Answer.outcome = 'trouble'
        $Answer.ok = $false
        Invoke-StepList $change $Asked
        Set-Outcome $Answer $change
        Close-Change $change
        if ($change.State.state -eq 'applied') {
            Set-Settled $Asked.id $Asked.settles
        }
    }
    finally {
        $lock.Dispose()
    }
}

function Invoke-Request([string] $Text, [bool] $CheckMode) {
    # What is set here is meant for cmdlets: reading is done in check mode too, and nothing asks or goes on after an error.
    $WhatIfPreference = $false
    $ConfirmPreference = 'None'
    $ErrorActionPreference = 'Stop'
    $ProgressPreference = 'SilentlyContinue'
    $answer = @{
        version = 1
        ok = $true
        outcome = 'none'
        sentence = $null
        failed_step = $null
        done = @()
        seconds = 0
        unfinished = @()
        found = $null
    }
    $id = ''
    try {
        $asked = ConvertFrom-Json -InputObject $Text
        if ($asked.version -ne 1 -or ('read', 'apply') -cnotcontains $asked.verb) {
            throw "the request is of version $($asked.version), and this script answers version 1: this is a fault of the control node"
        }
        if ($asked.verb -eq 'apply') {
            $id = $asked.id
            # Whatever it might say is no part of the answer.
            $null = Invoke-Apply -Asked $asked -Answer $answer -CheckMode $CheckMode
        }
    }
    catch {
        # What was decided stays so, whatever fails afterwards, such as the removal of the task, which then finds nothing to do.
        if ($answer.outcome -eq 'none') {
            $answer.ok = $false
            $answer.outcome = 'refused'
        }
        $answer.sentence = (@($answer.sentence, (Get-Reason $_)) | Where-Object { $_ }) -join '; '
    }
    try {
        $told = ''
        if ($answer.outcome -ne 'refused') {
            $told = $id
        }
        $unfinished = Read-Unfinished $told
        $answer.unfinished = @($unfinished.rows | ForEach-Object { $_ })
        $answer.sentence = (@($answer.sentence) + $unfinished.faults | Where-Object { $_ }) -join '; '
        if (-not $answer.sentence) {
            $answer.sentence = $null
        }
        $answer.found = Read-Wanted $asked.wanted
    }
    catch {
        if ($asked.verb -eq 'read') {
            $answer.ok = $false
        }
        $words = "this host cannot be read ($(Get-Reason $_)): see whether WMI and the registry answer its account"
        # Over the network, WMI tells of services and connections to administrators alone.
        if (-not (Test-Administrator)) {
            $words = "$(Get-NoAdministratorText) ($(Get-Reason $_))"
        }
        $answer.sentence = (@($answer.sentence, $words) | Where-Object { $_ }) -join '; '
    }
    $answer
}

if ($Request) {
    # True unless it is set.
    $Ansible.Changed = $false
    if ("$($ExecutionContext.SessionState.LanguageMode)" -eq 'FullLanguage') {
        $answer = Invoke-Request $Request ([bool] $WhatIfPreference)
        $Ansible.Changed = $answer.outcome -eq 'trouble' -or
            ($answer.outcome -eq 'applied' -and @($answer.done | Where-Object { $_.changed }).Count -gt 0)
        $Ansible.Result = $answer
    }
    else {
        $Ansible.Result = @{
            version = 1
            ok = $false
            outcome = 'refused'
            sentence = 'PowerShell runs in constrained language mode on this host, in which this collection can read and change nothing: ' +
                'let the policy (WDAC or AppLocker) trust the script, or leave this host out'
            failed_step = $null
            done = @()
            seconds = 0
            unfinished = @()
            found = New-Found
        }
    }
}
