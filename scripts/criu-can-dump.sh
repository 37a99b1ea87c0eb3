#!/bin/sh
# Whether the criu in PATH can dump a process on this machine.
PATH=$PATH:/usr/sbin:/sbin
command -v criu >/dev/null 2>&1 || exit 1
directory=$(mktemp -d) || exit 1
setsid sleep 1000 </dev/null >/dev/null 2>&1 &
process=$!
criu dump -v0 -t "$process" -D "$directory" </dev/null >/dev/null 2>&1
code=$?
kill "$process" 2>/dev/null
rm -rf "$directory"
exit "$code"
