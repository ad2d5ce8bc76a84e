# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd containers: the engine (podman or docker), the image, a network.  Nothing here knows of a product."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from .processes import Failed

ENGINES = ("podman", "docker")
INIT = "/sbin/init"
LABEL = "portshift.lab"
# An image of the site's own, which is pulled where it is not there yet.
IMAGE_VARIABLE = "LAB_IMAGE"
# Taken from a registry where this machine has no mmdebstrap.
BASE_IMAGE_VARIABLE = "LAB_BASE_IMAGE"
BASE_IMAGE = "docker.io/library/debian:bookworm-slim"
SUITE = "bookworm"
# firewalld needs netbase (/etc/protocols); the stand-ins have openssl check the mastheads; the hub of Change Tracker is
# behind nginx.
PACKAGES = (
    "dbus", "firewalld", "iproute2", "iptables", "netbase", "nftables", "nginx-light", "openssh-server", "openssl", "procps",
    "python3", "systemd", "systemd-sysv", "ufw",
)
# ufw and these exclude each other, so the second image has them in ufw's place; the first one brings their archives along.
PERSISTENT = ("netfilter-persistent", "iptables-persistent")
ARCHIVES = "/var/cache/portshift-lab"
# Engines mount /proc/sys read-only, for most of it is the machine's and not the container's.  What lies below net is the
# container's own, and a host that is to reserve a port has to write there.
NETWORK_UNIT = (
    "[Unit]", "Description=Settings of the network of this host can be written", "DefaultDependencies=no",
    "Before=sysinit.target systemd-sysctl.service", "ConditionPathIsReadWrite=!/proc/sys/net", "[Service]", "Type=oneshot",
    "ExecStart=mount --bind /proc/sys/net /proc/sys/net", "ExecStart=mount -o remount,rw,bind /proc/sys/net", "[Install]",
    "WantedBy=sysinit.target",
)
UNIT_FOLDER = "/etc/systemd/system"
# Every firewall is installed and none is on, so that a host turns on the one that it has; nor is nginx.  What every machine
# has to have of its own (keys, identity) is not in an image; nothing in a lab fetches or cleans up anything in the background.
FINISH = (
    "mkdir {0} && cd {0} && apt-get -o APT::Sandbox::User=root download {1}".format(ARCHIVES, " ".join(PERSISTENT)),
    "systemctl disable firewalld.service nftables.service nginx.service ufw.service",
    "rm /etc/nginx/sites-enabled/default",
    "systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer "
    "console-getty.service getty.target dev-hugepages.mount sys-fs-fuse-connections.mount",
    # These are what a kernel's few inotify instances go to, when many containers share it; no user sits at a console here.
    "systemctl mask systemd-ask-password-console.path systemd-ask-password-wall.path systemd-logind.service user@.service "
    "polkit.service",
    "sed -i /pam_systemd/d /etc/pam.d/common-session",
    "printf \"%%s\\n\" %s >%s/portshift-lab-network.service" % (
        " ".join('"%s"' % line for line in NETWORK_UNIT), UNIT_FOLDER),
    "systemctl enable portshift-lab-network.service",
    "rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id",
    "touch /etc/machine-id",
)
SWAP = (
    "dpkg --purge ufw",
    "DEBIAN_FRONTEND=noninteractive dpkg --install %s/*.deb" % ARCHIVES,
    "systemctl disable netfilter-persistent.service",
)
WITHOUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
# Without these two, runc wants limits that a container of a container may not set.
LIMITS = ("--ulimit", "nofile=1024:20000", "--ulimit", "nproc=4096:4096")
# What podman gives to a command that it runs in a container.
ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", "container=podman",
               "HOME=/root")
WORKERS = 4    # engines hold locks of their own: more at once only wait for each other


class Engine:
    """podman or docker; every failure is a Failed with the engine's own words."""

    def __init__(self, name=None):
        """Without a name the one that works, podman first.  Failed when there is none: its sentence says why."""
        reasons = []
        for candidate in [name] if name else ENGINES:
            why = _why_not(candidate)
            if why is None:
                self.name = candidate
                self._global = ["--runtime", "runc"] if candidate == "podman" and _needs_runc() else []
                self._inits, self._lists = {}, threading.Lock()
                return
            reasons.append(why)
        raise Failed("No container can be started here: %s." % "; ".join(reasons))

    def command(self, *arguments):
        return [self.name] + self._global + list(arguments)

    def run(self, *arguments, **how):
        """-> what it printed.  `check=False` -> (exit code, output, error output) instead; `stdin`: bytes."""
        return self._run(self.command(*arguments), "%s %s" % (self.name, " ".join(arguments[:4])), **how)

    @staticmethod
    def _run(command, name, stdin=None, check=True, timeout=300):
        # A session of its own: a Ctrl-C ends the lab's own work, not an engine amid writing its database.
        done = subprocess.Popen(
            command, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True)
        try:
            output, error = done.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            done.kill()
            done.communicate()
            raise Failed("%s did not end within %d seconds" % (name, timeout))
        except BaseException:
            done.communicate()    # whatever it began is there now, and can be taken away
            raise
        if not check:
            return done.returncode, output, error
        if done.returncode != 0:
            raise Failed("%s failed: %s" % (name, _last_words(error or output)))
        return output

    def execute(self, container, *command, **how):
        """Runs a command in a container."""
        options = ["--interactive"] if "stdin" in how else []
        return self.run("exec", *(options + [container] + list(command)), **how)

    def enter(self, container, *command, **how):
        """As execute(), for what leaves no process behind: it runs outside of the container's control groups."""
        return self._run([*self.entrance(container), *command], "%s: %s" % (container, " ".join(command[:3])), **how)

    def entrance(self, container):
        """What a command begins with that is to run in a container, to which stdin is passed on.

        podman begins four programs for each command, which together take forty times as long as to enter the namespaces.
        """
        init = self._init(container)
        if init is None:
            return self.command("exec", "--interactive", container)
        return ["nsenter", "--target", str(init), "--all", "--", "env", "-i", *ENVIRONMENT]

    def _init(self, container):
        """The pid of a container's first process; None where the engine has to be asked in its own way."""
        if self.name != "podman" or shutil.which("nsenter") is None:
            return None
        # Several ask at once; one list is for all of them.
        with self._lists:
            if not _is_init(*self._inits.get(container, (None, None))):
                listed = self.run("ps", "--no-trunc", "--format", "{{.ID}} {{.Pid}} {{.Names}}").decode("utf-8", "replace")
                self._inits = {name: (identity, pid) for identity, pid, name in map(str.split, listed.splitlines())}
            identity, pid = self._inits.get(container, (None, None))
        return int(pid) if _is_init(identity, pid) else None

    def host_options(self):
        """What a container needs to be a host with systemd and a firewall of its own."""
        options = list(LIMITS) + ["--security-opt", "apparmor=unconfined"]
        for capability in ("NET_ADMIN", "SYS_ADMIN", "NET_RAW", "AUDIT_WRITE"):
            options += ["--cap-add", capability]
        if self.name == "podman":
            return options + ["--systemd=always"]
        # What podman does of itself for systemd.
        options += ["--stop-signal", "SIGRTMIN+3", "--env", "container=docker", "--tmpfs", "/run:exec,mode=755",
                    "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec,mode=1777"]
        unified = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
        return options + (["--cgroupns", "host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"] if unified else
                          ["--volume", "/sys/fs/cgroup:/sys/fs/cgroup:ro"])

    def remove(self, label):
        """Takes away every container and network with this label; nothing else."""
        for kind, list_all, remove in (
                ("container", ["ps", "--all", "--quiet"], ["rm", "--force", "--volumes", "--time", "0"]),
                ("network", ["network", "ls", "--quiet"], ["network", "rm"])):
            if self.name == "docker" and kind == "container":
                remove = remove[:-2]
            found = self.run(*(list_all + ["--filter", "label=%s" % label])).decode("utf-8", "replace").split()
            if found:
                self.run(*(remove + found))


def _is_init(identity, pid):
    """Whether the process is in the control groups of that container: a pid may be another's by now."""
    try:
        with open("/proc/%s/cgroup" % pid) as stream:
            return identity is not None and identity in stream.read()
    except OSError:
        return False


def _why_not(engine):
    if shutil.which(engine) is None:
        return "%s is not installed" % engine
    if engine == "podman" and os.geteuid() != 0:
        # Rootless containers have no bridge with fixed addresses that the controller reaches by ssh.
        return "podman needs root for hosts with addresses of their own"
    try:
        # It opens the engine's store, or asks its daemon, as all that follows does.  `info` of podman in addition searches all
        # packages of the machine for the owners of its helpers.
        done = subprocess.run([engine, "ps", "--quiet"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as err:
        return "%s does not answer (%s)" % (engine, err)
    return None if done.returncode == 0 else "%s does not work (%s)" % (engine, _last_words(done.stderr or done.stdout))


def _needs_runc():
    # crun refuses hybrid cgroups, as Debian and others have with a cgroup v1 kernel command line; runc takes them.
    return shutil.which("runc") is not None and os.path.isdir("/sys/fs/cgroup/unified")


def _last_words(data):
    lines = [line for line in data.decode("utf-8", "replace").strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


def check_room(hosts, each=5):
    """Failed when the kernel would refuse that many systemds: they fail in odd ways, some time after their start."""
    with open("/proc/sys/fs/inotify/max_user_instances") as stream:
        most = int(stream.read())
    used = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat("/proc/" + pid).st_uid != os.geteuid():
                continue
            used += sum(os.readlink(entry.path) == "anon_inode:inotify" for entry in os.scandir("/proc/%s/fd" % pid))
        except OSError:
            continue    # it has ended
    if used + hosts * each > most:
        raise Failed("%d hosts need about %d inotify instances, and of the %d that this machine allows (sysctl "
                     "fs.inotify.max_user_instances) %d are in use. Stop other containers, ask for fewer hosts, or raise the "
                     "limit." % (hosts, hosts * each, most, used))


def at_once(function, items, workers=WORKERS):
    """function(item) for each, several at once; -> the results.  After a failure nothing new begins, and all have ended."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            for future in futures:
                future.cancel()
        for future in futures:
            if not future.cancelled() and future.exception() is not None:
                raise future.exception()
        return [future.result() for future in futures]


# -- the image
def recipe():
    """What the images are made of; their names hold the hash of this."""
    return "\n".join(("suite " + SUITE, "packages " + " ".join(PACKAGES), "without " + " ".join(WITHOUT)) + FINISH + SWAP)


def image(engine=None, persistent_iptables=False):
    """-> the name of the image of the lab's hosts, which is there when this returns.

    Made on this machine, once for each recipe (about a minute), from packages of the distribution.  It holds firewalld, ufw,
    nftables and iptables, all off; with `persistent_iptables` netfilter-persistent instead of ufw.
    """
    engine = engine or Engine()
    given = os.environ.get(IMAGE_VARIABLE)
    if given:
        if not _has_image(engine, given):
            engine.run("pull", "--quiet", given, timeout=1800)
        return given
    name = "localhost/portshift-lab:%s" % hashlib.sha256(recipe().encode("ascii")).hexdigest()[:12]
    second = name + "-persistent"
    wanted = second if persistent_iptables else name
    if _has_image(engine, wanted):
        return wanted
    # Two runs at once would make it twice.
    with open(os.path.join(tempfile.gettempdir(), "portshift-lab-image-%d.lock" % os.geteuid()), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _has_image(engine, name):
            with tempfile.TemporaryDirectory(prefix="portshift-lab-image-") as folder:
                if shutil.which("mmdebstrap") and os.geteuid() == 0:
                    _make_from_packages(engine, name, folder)
                else:
                    _make_from_registry(engine, name, folder)
        if persistent_iptables and not _has_image(engine, wanted):
            _swap_firewall(engine, name, wanted)
    return wanted


def _has_image(engine, name):
    return engine.run("image", "inspect", name, check=False)[0] == 0


def _make_from_packages(engine, name, folder):
    archive = os.path.join(folder, "rootfs.tar")
    call = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=" + ",".join(PACKAGES)]
    call += ["--dpkgopt=path-exclude=%s" % path for path in WITHOUT]
    call += ["--customize-hook=chroot \"$1\" sh -ec '%s'" % command for command in FINISH]
    done = subprocess.Popen(call + [SUITE, archive], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)
    try:
        said = done.communicate()[0]
    except BaseException:
        done.terminate()    # it unmounts and removes what it has begun
        done.communicate()
        raise
    if done.returncode != 0:
        # What went wrong stands in the first of its errors, the last one only says that it went wrong.
        errors = [line for line in said.splitlines() if line.startswith(b"E: ")]
        raise Failed("The image of the lab could not be made from packages; mmdebstrap said: %s. Set %s to an image that "
                     "holds systemd, python3, openssh-server, nginx and the firewalls, or mend the access to the packages." % (
                         _last_words(errors[0] if errors else said), IMAGE_VARIABLE))
    engine.run("import", "--change", 'CMD ["%s"]' % INIT, "--change", "STOPSIGNAL SIGRTMIN+3", archive, name, timeout=600)


def _make_from_registry(engine, name, folder):
    base = os.environ.get(BASE_IMAGE_VARIABLE, BASE_IMAGE)
    lines = ["FROM " + base, "ENV DEBIAN_FRONTEND=noninteractive"]
    exclusions = "".join("path-exclude=%s\\n" % path for path in WITHOUT)
    lines.append("RUN printf '%s' >/etc/dpkg/dpkg.cfg.d/portshift-lab && apt-get update && "
                 "apt-get install -y --no-install-recommends %s && rm -rf /var/lib/apt/lists/*" % (
                     exclusions, " ".join(PACKAGES)))
    lines += ["RUN " + command for command in FINISH]
    lines += ["STOPSIGNAL SIGRTMIN+3", 'CMD ["%s"]' % INIT]
    path = os.path.join(folder, "Containerfile")
    with open(path, "w") as stream:
        stream.write("\n".join(lines) + "\n")
    try:
        engine.run("build", *(list(LIMITS) + ["--network", "host", "--tag", name, "--file", path, folder]), timeout=1800)
    except Failed as err:
        raise Failed("The image of the lab could not be made from %s (%s). As root with mmdebstrap it is made from packages; "
                     "or set %s to an image that holds systemd, python3, openssh-server, nginx and the firewalls." % (
                         base, err, IMAGE_VARIABLE))


def _swap_firewall(engine, name, wanted):
    made = "portshift-lab-image-%d" % os.getpid()
    try:
        engine.run("run", *(list(LIMITS) + ["--name", made, "--network", "none", name, "sh", "-ec", "; ".join(SWAP)]))
        engine.run("commit", "--change", 'CMD ["%s"]' % INIT, made, wanted)
    finally:
        engine.run("rm", "--force", made, check=False)


# -- the network
def make_network(engine, name, *labels):
    """-> the subnet (a.b.c.0/24) of a new network where nothing on this machine is; taken by chance, tried again if taken."""
    for _attempt in range(50):
        choice = os.urandom(2)
        # 10.192.0.0/10: neither where podman nor where docker look for networks of their own.
        subnet = "10.%d.%d.0/24" % (192 + choice[0] % 64, choice[1])
        if _is_routed(subnet):
            continue
        options = [word for label in labels for word in ("--label", label)]
        code, _output, error = engine.run("network", "create", "--subnet", subnet, *(options + [name]), check=False)
        if code == 0:
            return subnet
        if b"already used" not in error and b"overlaps" not in error and b"in use" not in error:
            raise Failed("%s network create failed: %s" % (engine.name, _last_words(error)))
    raise Failed("No free subnet found in 10.192.0.0/10 for a lab.")


def _is_routed(subnet):
    """Whether this machine reaches that subnet by anything but its default route."""
    def number(text):
        return int.from_bytes(bytes(int(octet) for octet in text.split(".")), "big")

    wanted = number(subnet.split("/")[0])
    with open("/proc/net/route") as stream:
        for line in stream.readlines()[1:]:
            fields = line.split()
            target, mask = (int.from_bytes(bytes.fromhex(fields[column])[::-1], "big") for column in (1, 7))
            if mask and (wanted & mask == target or target & 0xffffff00 == wanted):
                return True
    return False


def addresses(subnet, count):
    """Fixed addresses from .10 on: the first ones are the engine's gateway and name service."""
    return ["%s.%d" % (subnet.rsplit(".", 1)[0], 10 + index) for index in range(count)]


def hardware_address(address):
    """One that a host keeps, so that its neighbours find it at once after a reboot."""
    return "02:42:" + ":".join("%02x" % int(octet) for octet in address.split("."))
