# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the control node asks of a Windows host, and what the host answers.

host.ps1 is sent by C(ansible.windows.win_powershell) with one parameter, C(Request): a Request as JSON text.  Its
C($Ansible.Result) is an Answer.  All judgement is the control node's: the script reads, and carries out steps each of which has
its guard.

Bytes travel as base64.  Moments are seconds since the epoch, UTC, with fractions; durations are seconds.  A sha256 is 64 lower
case digits.  A path is absolute with a drive letter, or begins with the name of a place in braces (C({client}\\actionsite.afxm)).
A registry key is spelled C(HKLM\\SOFTWARE\\WOW6432Node\\...): the view of 32-bit programs by its name, so that both kinds of
PowerShell find the same key.  A process is told from another of the same number by C(began), when it was started.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    # Python 3.10 has it there alone.
    from typing_extensions import NotRequired

VERSION = 1

# For win_powershell's depth, below which it hands lists and dictionaries over as text.
DEPTH = 12

# The folder of a host that only SYSTEM and the administrators may change.
FOLDER = r"C:\ProgramData\portshift"


# -- what is read

class Place(TypedDict):
    """A folder that the registry names: the first of these values that is there."""

    name: str
    values: list[RegistryName]
    # Where none of them is there.
    otherwise: NotRequired[str]


class RegistryName(TypedDict):
    key: str
    value: str


class FileAsked(TypedDict):
    """A file of which no more than C(limit) bytes are wanted; a bigger one is answered without its content and with a problem."""

    path: str
    limit: int
    # Names in the URLs of it, the first few, are looked up too, as if they had been asked for.
    hosts: NotRequired[bool]


class FolderAsked(TypedDict):
    """The ends of a folder's newest files, such as logs, which are open while they are read."""

    path: str
    # ".log": which files count, whatever the case.
    endings: list[str]
    # How many of the newest (by the time of their last change) are answered, and how many of their last bytes.
    newest: int
    bytes: int


class RegistryAsked(TypedDict):
    """A key with the keys under it, down to C(depth): 0 is the key alone."""

    key: str
    depth: int
    # More values than these are a problem.
    limit: int


class Probe(TypedDict):
    """Whether something answers.  C(tcp): a connection; C(http) and C(https): the answer to a GET, whatever its certificate."""

    name: str
    host: str
    port: int
    kind: Literal["tcp", "http", "https"]
    path: NotRequired[str]
    timeout: float
    # How many bytes of the answer's body are wanted; 65536 where it is left out.
    limit: NotRequired[int]


class Wanted(TypedDict):
    """What is to be read.  What is left out is not looked at."""

    places: NotRequired[list[Place]]
    files: NotRequired[list[FileAsked]]
    folders: NotRequired[list[FolderAsked]]
    registry: NotRequired[list[RegistryAsked]]
    # Names of services as the service manager has them, not what it shows.
    services: NotRequired[list[str]]
    # Local ports: who listens, and which other connections hold one.
    ports: NotRequired[list[int]]
    # Remote ports: which connections lead there.
    remote_ports: NotRequired[list[int]]
    # Names that the host looks up.
    names: NotRequired[list[str]]
    probes: NotRequired[list[Probe]]
    # portproxy, excluded ranges and dynamic ranges.
    netsh: NotRequired[bool]


class FileFound(TypedDict):
    path: str
    # The path as asked, with its place in braces.
    asked: str
    exists: bool
    # A reparse point (link, junction) in any component of it: its content is not read, which is a problem.
    reparse: bool
    read_only: bool
    # Its owner and ACL, and those of C(FOLDER), are the ones that the script makes: SYSTEM and the Administrators alone can have
    # written it.  False for a file that lies elsewhere, is not there, or of which that cannot be told.
    trusted: bool
    size: int | None
    changed: float | None
    sha256: str | None
    content: str | None
    problem: str | None


class TailFound(TypedDict):
    name: str
    size: int
    changed: float
    # Where in the file the content begins.
    offset: int
    content: str
    # Why nothing of it was read, such as that another process has it for itself.
    problem: str | None


class FolderFound(TypedDict):
    path: str
    asked: str
    exists: bool
    files: list[TailFound]
    problem: str | None


class RegistryValue(TypedDict):
    name: str
    # String, ExpandString, MultiString, DWord, QWord, Binary, None, Unknown: .NET's names.
    type: str
    # Text for the first two, a list of them for MultiString, a number for DWord and QWord, base64 for the rest; not expanded.
    data: Any


class RegistryKey(TypedDict):
    key: str
    values: list[RegistryValue]


class RegistryFound(TypedDict):
    key: str
    exists: bool
    # The key itself first, then those under it, in the order of their names.
    keys: list[RegistryKey]
    problem: str | None


class ServiceFound(TypedDict):
    name: str
    display_name: str
    exists: bool
    # stopped, start_pending, stop_pending, running, continue_pending, pause_pending, paused
    state: str | None
    # auto, delayed, manual, disabled
    start_mode: str | None
    process: int | None
    began: float | None
    path: str | None
    # Names of services that it needs, and of those that need it.
    needs: list[str]
    needed_by: list[str]
    exit_code: int | None


class ListenerFound(TypedDict):
    protocol: Literal["tcp", "udp"]
    address: str
    port: int
    process: int
    # Of the process, without ".exe", as in the connections.
    name: str | None
    began: float | None


class ConnectionFound(TypedDict):
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    # .NET's words; the others are no connection, or no more.  After 5000 rows the rest is left out.
    state: Literal["Established", "SynSent"]
    process: int
    name: str | None
    began: float | None


class ProbeFound(TypedDict):
    name: str
    # With http and https: an answer with a status, whichever.
    ok: bool
    # The address that answered.
    address: str | None
    status: int | None
    # base64
    body: str | None
    # With https: what the server showed, DER in base64.
    certificate: str | None
    seconds: float
    # Why nothing answered; "refused" and "timed out" are those two, whatever the host's language, else the host's own words.
    problem: str | None


class NameFound(TypedDict):
    name: str
    addresses: list[str]


class PortProxy(TypedDict):
    # "v4tov4", "v4tov6", "v6tov4", "v6tov6"
    kind: str
    listen_address: str
    listen_port: int
    connect_address: str
    connect_port: int


class PortRange(TypedDict):
    family: Literal["ipv4", "ipv6"]
    protocol: Literal["tcp", "udp"]
    first: int
    last: int


class ExcludedRange(PortRange):
    # Whether netsh has made it, for programs that ask for one of its ports.  What Windows has excluded by itself, such as for
    # Hyper-V or WinNAT, it keeps from every other program.
    administered: bool


class NetshFound(TypedDict):
    portproxy: list[PortProxy]
    excluded: list[ExcludedRange]
    dynamic: list[PortRange]
    problem: str | None


class Found(TypedDict):
    """The answers, in the order of what was asked; behind the names that were asked for those of files."""

    now: float
    # Seconds since the host was booted, by a clock that is never set.
    uptime: float
    # What local time is ahead of UTC now, in seconds; BigFix names its logs by local days.
    utc_offset: int
    computer: str
    # Windows' version ("10.0.20348") and PowerShell's ("5.1.20348.1").
    windows: str
    powershell: str
    # FullLanguage, or ConstrainedLanguage, in which nothing but this could be answered.
    language_mode: str
    administrator: bool
    # Of this host's network cards; loopback is none of them.
    addresses: list[str]
    places: dict[str, str | None]
    files: list[FileFound]
    folders: list[FolderFound]
    registry: list[RegistryFound]
    services: list[ServiceFound]
    listeners: list[ListenerFound]
    connections: list[ConnectionFound]
    probes: list[ProbeFound]
    names: list[NameFound]
    netsh: NetshFound | None


# -- what is changed

class Splice(TypedDict):
    """C(length) bytes from C(at) on, of the file as it was, become C(bytes)."""

    at: int
    length: int
    bytes: str


class WriteStep(TypedDict):
    """Replaces a file whose sha256 is C(expected); None: there must be none.  Its owner, ACL and attributes stay.

    Folders that are missing are made below C(FOLDER), and nowhere else.

    Either C(content), or C(splices) with C(result), the sha256 that the file has to have then.
    """

    step: Literal["write"]
    path: str
    expected: str | None
    content: NotRequired[str]
    splices: NotRequired[list[Splice]]
    result: NotRequired[str]


class RemoveStep(TypedDict):
    step: Literal["remove"]
    path: str
    expected: str


class RegistryStep(TypedDict):
    """Sets a value that is C(expected) (None: not there) to C(wanted) (None: deletes it).

    A missing key is made.  With its last value a key goes too, unless another lies under it: a setting of BigFix is a key.
    """

    step: Literal["registry"]
    key: str
    name: str
    expected: RegistryValue | None
    wanted: RegistryValue | None


class ServiceStep(TypedDict):
    """C(stop) waits until the service is stopped and its process gone, C(start) until it runs, at most C(seconds) each.

    A service that is needed by others that run is not stopped: they are named in the error.  Those that a step before it stops do
    not count, and where others run before the first step, the change is refused.  One that is as it shall be is left.
    """

    step: Literal["stop", "start"]
    service: str
    seconds: float


class PortProxyStep(TypedDict):
    """v4tov4: what comes in on C(listen_port) of any address goes to C(connect_port) of 127.0.0.1, or no more.

    It is done when IP Helper listens on the port, or does no more, for which it gets ten seconds.
    """

    step: Literal["portproxy"]
    listen_port: int
    connect_port: int
    present: bool


# ipv4/tcp: a family and a protocol, of which each has excluded ranges of its own.
RangeKind = Literal["ipv4/tcp", "ipv4/udp", "ipv6/tcp", "ipv6/udp"]


class ExcludeStep(TypedDict):
    """Takes a port of these kinds out of what Windows hands out, or gives it back.

    A port that is held, or that Windows keeps from every program, cannot be excluded: with C(must) false that is a note.
    """

    step: Literal["exclude"]
    kinds: list[RangeKind]
    port: int
    present: bool
    must: bool


class ServiceIs(TypedDict):
    kind: Literal["service"]
    service: str
    state: Literal["running", "stopped"]


class Listens(TypedDict):
    """The process of C(service), or any where it is None, listens on the tcp port."""

    kind: Literal["listens"]
    port: int
    service: str | None


class Answers(TypedDict):
    """The probe is answered, by HTTP with status 200, and its body holds C(contains) (latin-1)."""

    kind: Literal["probe"]
    probe: Probe
    contains: str | None
    # An answer with another status is one, too.
    any_status: NotRequired[bool]
    # By https the certificate has this SHA-1 (40 digits) or SHA-256 (64).
    thumbprint: NotRequired[str]


class Connected(TypedDict):
    """The process of C(service) has an established connection to C(port) at one of the addresses of C(host).

    C(absent): it has none, and tries to have none.
    """

    kind: Literal["connection"]
    service: str
    host: str
    port: int
    absent: NotRequired[bool]


class Logged(TypedDict):
    """A line that was written since the mark, in one of the folder's files, matches one of C(patterns).

    .NET regular expressions, no case ignored, one line at a time, with a time limit of their own.  What stood in the files when
    C(mark) was taken does not count; a file that is shorter than it was is read from its beginning.  Of what was added to a file
    the last 4 MiB are read; where there is more, what was seen says so.

    C(silence): it holds, too, as long as no line matches any of them.
    """

    kind: Literal["log"]
    folder: str
    endings: list[str]
    patterns: list[str]
    # A later line that matches one of these takes the word back; a line that matches both kinds is one of these.
    unless: list[str]
    silence: NotRequired[bool]


class AllOf(TypedDict):
    """What belongs together within one of several: a condition of its own needs no such bracket."""

    kind: Literal["all"]
    of: list[ServiceIs | Listens | Answers | Connected | Logged]


class EitherOf(TypedDict):
    kind: Literal["either"]
    of: list[ServiceIs | Listens | Answers | Connected | Logged | AllOf]


Condition = ServiceIs | Listens | Answers | Connected | Logged | EitherOf


class MarkStep(TypedDict):
    """Notes how long the files of these folders are, for Logged.

    Its place is after the last stop and before the first start, so that no line of the process that was stopped counts.
    """

    step: Literal["mark"]
    folders: list[str]
    endings: list[str]


class WaitStep(TypedDict):
    """Until every condition holds, and holds once more after C(settle) seconds with the same processes; at most C(seconds)."""

    step: Literal["wait"]
    seconds: float
    settle: float
    until: list[Condition]


Step = (WriteStep | RemoveStep | RegistryStep | ServiceStep | PortProxyStep | ExcludeStep | MarkStep | WaitStep)


class StepDone(TypedDict):
    index: int
    step: str
    changed: bool
    seconds: float
    # Sentences, such as on a port that could not be excluded; for a wait what was seen of each condition.
    notes: list[str]


class Request(TypedDict):
    """C(read) alone reads.  C(apply) carries out the steps in their order, then reads.

    A step that fails, or whose guard does not hold, ends the change: what the steps before it did is undone in the opposite
    order, with the services that ran before running again.  Before the first step the host keeps the state in
    C(FOLDER\\changes\\ID) and makes a scheduled task, which looks each minute, and soon after a boot: where the change's
    process is gone it does the same at once, and it ends one that hangs when C(timeout) is over.  Services that ran are started
    whatever else fails.  A service that does not run yet is started again each minute.  What could not be set back yet, for which
    services have to stop, is tried again after a pause in which they run, 30 s first and then more than twice as long each time,
    up to an hour, and at once after a boot or when an apply comes.  What was changed by something else since is left for a
    person.

    A guard of a file or value that no step before it changes is looked at before the first step: where it does not hold, the
    change is refused.  In check mode that is all: nothing is carried out, and the outcome is C(none) where they hold.

    The id of a change that was begun before carries out nothing: while it is under way it is refused; if its process is gone
    it is undone now; if it has ended within the last day, its outcome is answered again.  Another change is refused as long as
    one is under way; one whose process is gone is undone first, and the new one refused, since its guards were read in between.

    A read writes nothing at all.
    """

    version: int
    verb: Literal["read", "apply"]
    wanted: Wanted
    # With apply.  The id is 32 lower case hexadecimal digits, new for each change.
    id: NotRequired[str]
    timeout: NotRequired[float]
    steps: NotRequired[list[Step]]
    # Ids of changes that ended in trouble, which this one sets right: if it is applied, they are told no more.
    settles: NotRequired[list[str]]


class Unfinished(TypedDict):
    """A change of this host that has not been ended, or that the host has undone, which its control node may not have heard.

    C(undone) is told for a day, or until another change is applied, and not at all where nothing had been touched; C(trouble)
    until one that settles it is applied, or until its folder is removed by hand.
    """

    id: str
    state: Literal["applying", "undoing", "undone", "trouble"]
    began: float
    sentence: str
    # Whether a process works on it now, which holds the host's lock.  Where none does, an apply of this id ends the change now.
    running: bool
    # Seconds from C(began) on after which the host undoes it by itself.
    timeout: float


class Answer(TypedDict):
    version: int
    ok: bool
    # applied, undone (as before, by itself), refused (nothing was touched), trouble: half way; a person is needed, unless the
    # host, which tries again each minute where that can help, gets it undone yet (C(unfinished) of a read tells);
    # none: a read, or an apply in check mode that would not be refused
    outcome: Literal["none", "applied", "undone", "trouble", "refused"]
    # Why it did not come about; what the host was asked, found, and which step it was.
    sentence: str | None
    failed_step: int | None
    done: list[StepDone]
    # How long services were down, from the first stop to the last start.
    seconds: float
    unfinished: list[Unfinished]
    found: Found | None
