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
# Types at a terminal: nothing, here. What `script` shows of the end of its input is left out.
cat >bin/terminal <<'END'
#!/bin/sh
out=$(script -qec "$1" /dev/null </dev/null)
code=$?
printf '%s\n' "$out" | sed 's/\^@//g; s/\r//g; /^$/d'
exit $code
END
chmod 755 bin/terminal
"#;

pub fn make(session: &Session) -> Check {
    session.aside(MAKE).map_err(|e| format!("make the image in {HOME}: {e}")).map(drop)
}
