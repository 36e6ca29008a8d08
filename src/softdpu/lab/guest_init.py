"""What runs inside a guest: an init that prepares it, and an agent that runs commands for the test at the other end.

Kernel messages go to the first serial port and commands travel over the second, so neither ever disturbs the other.
"""

AGENT_PORT = "/dev/ttyS1"

INIT = """\
#!/bin/sh
# Kernel command line: lab.modules=none loads no driver; lab.shell starts a shell on the console.
# Module parameters such as virtio_pci.force_legacy=1 reach modules as well as built-in drivers (modprobe reads them).
export PATH=/sbin:/bin:/usr/bin HOME=/root TERM=linux
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /run/lab /tmp
mount -t devpts devpts /dev/pts
mount -t tmpfs tmp /tmp
hostname guest
ip link set lo up
case " $(cat /proc/cmdline) " in
*" lab.modules=none "*) ;;
*) virtio load ;;
esac
case " $(cat /proc/cmdline) " in
*" lab.shell "*)
    (
        echo; echo "This guest runs $(uname -r). \\`virtio\\` reloads drivers; Ctrl-A x leaves."
        while :; do setsid -c sh -l </dev/ttyS0 >/dev/ttyS0 2>&1; done
    ) >/dev/ttyS0 2>&1 &
    ;;
esac
while :; do
    agent <%(port)s >%(port)s 2>/dev/ttyS0
    sleep 1
done
""" % {"port": AGENT_PORT}  # noqa: UP031 - shell text is full of braces

VIRTIO = """\
#!/bin/sh
# virtio load [PARAMETER=VALUE ...] | virtio unload | virtio reload [PARAMETER=VALUE ...]
# PARAMETERs are virtio_pci's, for kernels that have it as a module: force_legacy=1.
loaded() { [ -d /sys/module/$1 ] && [ -e /lib/modules/$(uname -r)/$1.ko ]; }
load() { modprobe virtio_pci "$@" 2>/dev/null; modprobe virtio_net; }
unload() { for m in virtio_net virtio_pci; do if loaded $m; then rmmod $m || return 1; fi; done; }
verb=$1; shift
case $verb in
load) load "$@" ;;
unload) unload ;;
reload) unload && load "$@" ;;
*) echo "usage: virtio load|unload|reload [force_legacy=1]" >&2; exit 2 ;;
esac
"""

# One line a request and one a reply. Output is held in a file and sent as base64, so that any bytes survive, and dd
# writes the whole line at once: the terminal driver keeps one write together when commands end side by side.
# The shell that reads must have no children in the background: when one ends, busybox's `read` starts its line anew.
AGENT = """\
#!/bin/sh
# Requests: run ID BASE64 | peek ID | kill ID.  Replies: hello RELEASE | done ID STATUS BASE64 | part ID BASE64.
cd /root
stty raw -echo
mkdir -p /run/lab
reply() {
    (echo -n "$2 $3 $4 "; [ ! -e $1 ] || base64 -w 0 $1; echo) >$1.$2
    dd if=$1.$2 bs=64M 2>/dev/null
    rm -f $1.$2
}
run() {
    setsid sh $1.sh >$1.out 2>&1 </dev/null &
    echo $! >$1.pid
    wait $!
    reply $1.out done ${1##*/} $?
    rm -f $1.*
}
echo hello $(uname -r)
while read -r verb id body; do
    case $verb in
    run) echo "$body" | base64 -d >/run/lab/$id.sh; (run /run/lab/$id &) ;;
    peek) reply /run/lab/$id.out part $id ;;
    kill) kill -KILL -$(cat /run/lab/$id.pid) ;;
    esac
done
"""
