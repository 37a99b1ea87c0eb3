#!/usr/bin/env bash
# Shows the main things that the runtime does, on real containers: each command as it is, and what it really prints.
# What is shown is also checked; when something does not hold, the demo says so and fails. It leaves nothing behind.
#   scripts/demo.sh path/to/rvol-runc      (as root; `make demo` builds what it needs first)
set -u

binary=${1:?"the path of rvol-runc is missing"}
PATH=$(cd "$(dirname "$binary")" && pwd):$PATH
cd "$(dirname "$0")/.." || exit 1
shared=bundles/mounts/shared
containers="demo-life demo-mounts demo-hello demo-volume demo-second"

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' dim='' green='' red='' plain=''
fi

title() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
say() { printf '%s# %s%s\n' "$dim" "$*" "$plain"; }
ok() { printf '%s  ok: %s%s\n' "$green" "$*" "$plain"; }
fail() {
    printf '%s  FAILED: %s%s\n' "$red" "$*" "$plain" >&2
    exit 1
}

# Shows a command line, runs it and shows its output, which stays in $output for the checks. The output goes through a
# file: a container that was created holds on to its standard output, and a pipe would never end.
output=
show() {
    printf '%s$ %s%s\n' "$bold" "$1" "$plain"
    eval "$1" >"$scratch/output" 2>&1 </dev/null
    status=$?
    output=$(cat "$scratch/output")
    [ -z "$output" ] || printf '%s\n' "$output"
    return "$status"
}
run() { show "$1" || fail "the command above exited with $status"; }
refused() { ! show "$1" || fail "the command above should have been refused"; }
holds() { # DESCRIPTION TEXT: the last output has this text
    case $output in
    *"$2"*) ok "$1" ;;
    *) fail "$1: expected '$2' above" ;;
    esac
}
empty() { # DESCRIPTION: the last output is nothing
    [ -z "$output" ] || fail "$1: there should be nothing above"
    ok "$1"
}
wait_for() { # DESCRIPTION COMMAND: within five seconds
    for _ in $(seq 100); do
        eval "$2" >/dev/null 2>&1 && return
        sleep 0.05
    done
    fail "$1: not within five seconds"
}
status_of() { rvol-runc state "$1" | sed -n 's/.*"status": "\(.*\)".*/\1/p'; }
pid_of() { rvol-runc state "$1" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p'; }

remove_traces() {
    for container in $containers; do
        rvol-runc delete --force "$container" >/dev/null 2>&1 || echo "demo: could not delete $container" >&2
    done
    rm -f "$shared/question" "$shared/answer" "$shared/answer.new"
}

if [ "$(id -u)" -ne 0 ]; then
    echo "demo: please run it as root; it makes containers as root does" >&2
    exit 1
fi
scratch=$(mktemp -d) || exit 1
export RVOL_VOLUME_ROOT=$scratch/volumes
trap 'remove_traces; rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
remove_traces # of a demo that was killed
SECONDS=0

title "A container"
say "A bundle is a directory with a config.json and a root filesystem. This one says hello."
run "rvol-runc run --bundle bundles/hello demo-hello"
holds "it ran in namespaces of its own" "hello from hello, where I am process 1"

title "Its life, step by step"
say "create makes the container: namespaces, mounts, confinement. Its program does not run yet."
run "rvol-runc create --bundle bundles/lifecycle demo-life"
run "rvol-runc state demo-life"
holds "the container is created" '"status": "created"'
run "rvol-runc start demo-life"
run "rvol-runc list"
holds "the container is running" "running"
say "kill sends a signal (SIGTERM here), delete removes what is left."
run "rvol-runc kill demo-life TERM"
wait_for "the container ends" '[ "$(status_of demo-life)" = stopped ]'
run "rvol-runc state demo-life"
holds "the container is stopped" '"status": "stopped"'
run "rvol-runc delete demo-life"
refused "rvol-runc state demo-life"
holds "nothing is left of it" "does not exist"

title "What a bundle asks for, before it is done"
say "plan needs no root and does nothing. It prints the very list that create carries out."
run "rvol-runc plan bundles/mounts"
holds "the shared directory is in the plan" "/shared"
say "A config with mistakes is refused before anything is done, and all of them are named at once."
refused "rvol-runc plan bundles/faulty"
holds "each mistake has its place in config.json" "mounts[1].options[2]"
holds "all of them are there" "linux.namespaces[2].path"

title "Directories of the host in a container"
say "This bundle has proc, sysfs, tmpfs, devpts, mqueue, a read-only and a read-write directory of the host."
run "rvol-runc create --bundle bundles/mounts demo-mounts"
pid=$(pid_of demo-mounts)
say "The container's mount table has them:"
run "grep -E ' /(shared|docs) ' /proc/$pid/mountinfo"
holds "the container has the read-write directory" " /shared rw,"
holds "and the read-only one" " /docs ro,"
say "The host's has not, at no time: mounts are put together where nobody sees them. (grep finds nothing.)"
refused "grep -F '$PWD/bundles/mounts' /proc/self/mountinfo"
empty "the host's mount table knows nothing of it"
say "Now the host writes a question into the directory; the container answers in the same directory."
run "rvol-runc start demo-mounts"
run "echo 'who is there?' > $shared/question"
wait_for "the container answers" '[ -e "$shared/answer" ]'
run "cat $shared/answer"
holds "the container read what the host wrote, and the host what the container wrote" "mounts read: who is there?"
holds "the other directory is read-only" "/docs: touch: /docs/new: Read-only file system"
holds "so is the root filesystem" "/: touch: /new: Read-only file system"
say "The files are in the host's directory, and not in the container's root filesystem:"
run "ls $shared"
holds "they are in the host's directory" "answer"
run "ls -A bundles/mounts/rootfs/shared"
empty "the root filesystem has an empty directory to mount on"
run "rvol-runc delete --force demo-mounts"

title "Volumes"
say "Volumes are directories that outlive containers. The demo keeps them in \$RVOL_VOLUME_ROOT, and nothing else:"
say "the bundle is a copy of bundles/hello that runs a shell script, which each step writes anew."
bundle=$scratch/bundle
mkdir "$bundle" && cp -a bundles/hello/rootfs "$bundle/rootfs"
script() { # SCRIPT: what the container runs
    say "in the container: $1"
    sed 's/"args": .*/"args": ["sh", "\/script"],/' bundles/hello/config.json >"$bundle/config.json"
    printf '%s\n' "$1" >"$bundle/rootfs/script"
}
say "An anonymous volume: made for one container, in its place while it runs."
script 'echo "written inside" >/test/file; cat /test/file'
run "rvol-runc create --bundle $bundle -v /test demo-volume"
run "rvol-runc volume ls"
volume=$(rvol-runc volume ls -q)
run "rvol-runc start demo-volume"
wait_for "the container writes" '[ -s "$RVOL_VOLUME_ROOT/$volume/_data/file" ]'
run "cat \$RVOL_VOLUME_ROOT/$volume/_data/file"
holds "the host sees what the container wrote" "written inside"
run "ls -A $bundle/rootfs/test"
empty "the root filesystem has an empty /test, and nothing of the volume's data"
refused "grep -F \$RVOL_VOLUME_ROOT /proc/self/mountinfo"
empty "the host's mount table knows nothing of it"
run "rvol-runc delete --force --volumes demo-volume"
run "rvol-runc volume ls -q"
empty "with --volumes it went with its container"

say "A named volume is made on first use and stays."
script 'echo "first was here" >>/data/log'
run "rvol-runc run --bundle $bundle -v data:/data demo-volume"
script 'cat /data/log'
run "rvol-runc run --bundle $bundle -v data:/data demo-second"
holds "the second container reads what the first one wrote" "first was here"

say "A directory of the host, read-only."
mkdir "$scratch/home" && echo "from the host" >"$scratch/home/letter"
script 'cat /test/letter; touch /test/new'
refused "rvol-runc run --bundle $bundle -v $scratch/home:/test:ro demo-volume"
holds "the container reads it" "from the host"
holds "and cannot write to it" "Read-only file system"

say "What the image has at the mount point appears in a new volume."
mkdir "$bundle/rootfs/site" && echo "the image's own page" >"$bundle/rootfs/site/index.html"
script 'cat /site/index.html'
run "rvol-runc run --bundle $bundle -v site:/site demo-volume"
holds "copied up" "the image's own page"
run "ls \$RVOL_VOLUME_ROOT/site/_data"
holds "it is in the volume now" "index.html"

say "Two containers share: the second takes over the mounts of the first, read-only."
script 'cat /data/log; touch /data/new'
run "rvol-runc create --bundle $bundle -v data:/data demo-volume"
refused "rvol-runc run --bundle $bundle --volumes-from demo-volume:ro demo-second"
holds "it reads the first one's volume" "first was here"
holds "and may not write" "Read-only file system"
refused "rvol-runc volume rm data"
holds "a volume in use stays" "volume is in use - [demo-volume]"
run "rvol-runc mounts demo-volume"
run "rvol-runc delete --force demo-volume"

say "A volume as a tar archive, and a volume from one."
run "rvol-runc volume export data -o $scratch/data.tar"
run "tar -tvf $scratch/data.tar"
holds "tar reads it" "./log"
run "rvol-runc volume import restored $scratch/data.tar"
run "cat \$RVOL_VOLUME_ROOT/restored/_data/log"
holds "the volume is back, under another name" "first was here"

say "Pruning: what nobody uses goes, if it has no name; with --all also what has one."
run "rvol-runc volume create"
run "rvol-runc volume prune --dry-run"
run "rvol-runc volume prune --force"
holds "the anonymous one went" "Deleted Volumes"
run "rvol-runc volume ls"
holds "named ones stay" "data"
run "rvol-runc volume prune --all --force"
run "rvol-runc volume ls -q"
empty "now there is none"

printf '\n%sEverything held, in %d s.%s\n' "$bold" "$SECONDS" "$plain"
