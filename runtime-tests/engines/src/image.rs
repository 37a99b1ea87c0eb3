//! The image that all tests use: a static busybox, made without a registry.

use crate::sandbox::HOME;
use crate::session::{Check, Session};

/// Root filesystem and its archive, which engines import; and a terminal.
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
chmod 755 $root/bin/bash
printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n' >$root/etc/passwd
printf 'root:x:0:\nuser:x:1000:\nmore:x:2000:user\n' >$root/etc/group
echo page >$root/var/www/index.html
tar -C $root -cf box.tar .
# Somebody at a terminal, who presses Enter after each line that is shown. The input does not end: containerd closes a
# container's terminal with it, and what is said from then on is lost.
cat >bin/terminal <<'END'
#!/bin/sh
place=$(mktemp -d)
mkfifo "$place/typed" "$place/shown"
exec 3<>"$place/typed"
while IFS= read -r line || [ -n "$line" ]; do
    line=$(printf %s "$line" | tr -d '\r')
    [ -z "$line" ] || { printf '%s\n' "$line"; echo >&3; }
done <"$place/shown" >"$place/seen" &
script -qec "$1" /dev/null <&3 >"$place/shown"
code=$?
wait
cat "$place/seen"
rm -r "$place"
exit $code
END
chmod 755 bin/terminal
"#;

pub fn make(session: &Session) -> Check {
    session.aside(MAKE).map_err(|e| format!("make the image in {HOME}: {e}")).map(drop)
}
