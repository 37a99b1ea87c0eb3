//! The image that all tests use: a static busybox, made without a registry.

use crate::sandbox::HOME;
use crate::session::{Check, Session};

/// Root filesystem and its archive, which engines import; and who sits at a terminal.
const MAKE: &str = r#"
set -eu
cd /run/eng
root=/run/eng/image
mkdir -p $root/bin $root/etc $root/root $root/tmp $root/home $root/var/www $root/proc $root/sys $root/dev
chmod 1777 $root/tmp
for candidate in /bin/busybox /usr/bin/busybox; do [ -x $candidate ] && busybox=$candidate; done
cp $busybox $root/bin/busybox
for name in $($busybox --list); do [ $name = busybox ] || ln -s busybox $root/bin/$name; done
# Tutorials type bash.
printf '#!/bin/sh\nexec /bin/sh "$@"\n' >$root/bin/bash
printf '#!/bin/sh\n"$@" 2>&1\ncode=$?\nread line\nexit $code\n' >$root/bin/told
chmod 755 $root/bin/bash $root/bin/told
printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n' >$root/etc/passwd
printf 'root:x:0:\nuser:x:1000:\nmore:x:2000:user\n' >$root/etc/group
echo page >$root/var/www/index.html
tar -C $root -cf box.tar .
# The command's input does not end, and gets Enter after each line that is shown: containerd closes a terminal with its
# input, and what a container says that ends at once may be lost on the way (ctr, podman). `told` ends when it is heard.
cat >bin/heard <<'END'
#!/bin/sh
place=$(mktemp -d)
mkfifo "$place/typed" "$place/shown"
exec 3<>"$place/typed"
[ -z "$TYPED" ] || echo "$TYPED" >&3
while IFS= read -r line || [ -n "$line" ]; do
    line=$(printf %s "$line" | tr -d '\r')
    [ -z "$line" ] || { printf '%s\n' "$line"; echo >&3; }
done <"$place/shown" >"$place/seen" &
"$@" <&3 >"$place/shown"
code=$?
wait
cat "$place/seen"
rm -r "$place"
exit $code
END
printf '#!/bin/sh\nexec heard script -qec "$1" /dev/null\n' >bin/terminal
chmod 755 bin/heard bin/terminal
"#;

pub fn make(session: &Session) -> Check {
    session.aside(MAKE).map_err(|e| format!("make the image in {HOME}: {e}")).map(drop)
}
